// Plots as inline SVG. Nothing here knows the page's state: a plot gets numbers and draws them into its host element.

const SVG = "http://www.w3.org/2000/svg";

function draw(name, attributes, parent, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

// Round tick positions, about `count` of them, inside [low, high].
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k++) found.push(+(k * step).toPrecision(12));
  return found;
}

// An empty plot with axes: {svg, x, y, back, front, box}; x and y map data to pixels, front holds what moves.
function axes(host, { xs, ys, xlabel, ylabel, name, xticks, yticks, show = String, showY = show, warp = (v) => v, yAxis = true }) {
  host.replaceChildren();
  const width = host.clientWidth || 440, height = host.clientHeight || 300;
  const box = { left: yAxis ? 52 : 10, right: width - 12, top: 10, bottom: height - 42 };
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name }, null);
  const scale = (from, to, [low, high]) => (v) => from + (to - from) * (warp(v) - warp(low)) / (warp(high) - warp(low));
  const x = scale(box.left, box.right, xs), y = scale(box.bottom, box.top, ys);
  const back = draw("g", {}, svg), front = draw("g", {}, svg);
  const few = width < 380 ? 4 : 6;
  for (const t of xticks || ticks(xs[0], xs[1], few)) {
    draw("line", { class: "gridline", x1: x(t), x2: x(t), y1: box.top, y2: box.bottom }, back);
    draw("text", { x: x(t), y: box.bottom + 17, "text-anchor": "middle" }, back, show(t));
  }
  if (yAxis) for (const t of yticks || ticks(ys[0], ys[1], 5)) {
    draw("line", { class: "gridline", x1: box.left, x2: box.right, y1: y(t), y2: y(t) }, back);
    draw("text", { x: box.left - 7, y: y(t) + 4, "text-anchor": "end" }, back, showY(t));
  }
  draw("line", { class: "frame", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }, back);
  draw("text", { x: (box.left + box.right) / 2, y: height - 7, "text-anchor": "middle" }, back, xlabel);
  if (yAxis) draw("text", { transform: `translate(13 ${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, back, ylabel);
  host.append(svg);
  return { svg, x, y, back, front, box };
}

// A polyline through [x, y] pairs; points nearer than half a pixel to the last drawn one are left out.
function line(plot, points, style) {
  let path = "", lastX = NaN, lastY = NaN;
  points.forEach(([a, b], k) => {
    if (!Number.isFinite(a) || !Number.isFinite(b)) return;
    const px = plot.x(a), py = plot.y(b);
    if (k < points.length - 1 && Math.abs(px - lastX) + Math.abs(py - lastY) < 0.5) return;
    path += `${path ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`;
    [lastX, lastY] = [px, py];
  });
  return draw("path", { class: style, d: path || "M0 0" }, plot.back);
}

function dots(plot, marks) {
  plot.front.replaceChildren();
  for (const { kind, at } of marks) {
    if (!at.every(Number.isFinite)) continue;
    const [cx, cy] = [plot.x(at[0]), plot.y(at[1])];
    if (kind === "tuned") draw("rect", { class: "dot-tuned", x: cx - 5, y: cy - 5, width: 10, height: 10, rx: 1.5 }, plot.front);
    else draw("circle", { class: `dot-${kind}`, cx, cy, r: kind === "now" ? 6 : 5 }, plot.front);
  }
}

// The standard normal quantile (Abramowitz and Stegun 26.2.23, error below 4.5e-4: less than a pixel).
function probit(p) {
  const q = Math.min(p, 1 - p), t = Math.sqrt(-2 * Math.log(Math.max(q, 1e-12)));
  const z = t - (2.515517 + 0.802853 * t + 0.010328 * t * t) / (1 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t ** 3);
  return p < 0.5 ? -z : z;
}

const percent = (v) => `${+(100 * v).toPrecision(3)}`;
const UNIT = [0, 1];

function plotScores(host, { scores, labels, weights, range, marks }) {
  // fewer bins where a class is small or the screen narrow
  const fakes = labels.reduce((n, y) => n + y, 0), smaller = Math.min(fakes, labels.length - fakes);
  const bins = Math.round(Math.max(20, Math.min(80, host.clientWidth / 11, 4 * Math.sqrt(smaller))));
  const shares = [new Float64Array(bins), new Float64Array(bins)], totals = [0, 0];
  for (let i = 0; i < scores.length; i++) {
    const k = Math.floor(bins * (scores[i] - range[0]) / (range[1] - range[0]));
    shares[labels[i]][Math.max(0, Math.min(bins - 1, k))] += weights[i];
    totals[labels[i]] += weights[i];
  }
  shares.forEach((s, c) => s.forEach((v, k) => { s[k] = totals[c] ? v / totals[c] : 0; }));
  const top = Math.max(...shares[0], ...shares[1], 1e-9) * 1.18;
  const plot = axes(host, { xs: range, ys: [0, top], xlabel: "score (logit)", ylabel: "", yAxis: false,
    name: "Histogram of scores, real and fake, each as a share of its class" });
  const wide = (plot.box.right - plot.box.left) / bins;
  shares.forEach((s, c) => s.forEach((v, k) => v && draw("rect", { class: c ? "bar-fake" : "bar-real",
    x: plot.box.left + k * wide + 0.5, width: Math.max(wide - 1, 1), y: plot.y(v), height: plot.box.bottom - plot.y(v) }, plot.back)));
  for (const { kind, at } of marks) {
    const px = plot.x(at);
    draw("line", { class: `rule-${kind}`, x1: px, x2: px, y1: plot.box.top, y2: plot.box.bottom }, plot.back);
    draw("text", { class: `label-${kind}`, x: px + 5, y: plot.box.top + (kind === "half" ? 10 : 24) }, plot.back, kind === "half" ? "0.5" : "tuned");
  }
  plot.now = draw("g", {}, plot.front);
  draw("line", { class: "rule-now", y1: plot.box.top, y2: plot.box.bottom }, plot.now);
  draw("rect", { class: "hit", x: -16, width: 32, y: plot.box.top, height: plot.box.bottom - plot.box.top }, plot.now);
  draw("path", { class: "grip", d: `M0 ${plot.box.bottom - 1}l-8 12h16z` }, plot.now);
  return plot;
}

function plotMetrics(host, { curves, range, marks }) {
  const plot = axes(host, { xs: range, ys: UNIT, xlabel: "threshold (logit)", ylabel: "%", showY: percent,
    name: "Precision, recall and F1 of the fake class against the threshold" });
  for (const { kind, at } of marks) draw("line", { class: `rule-${kind}`, x1: plot.x(at), x2: plot.x(at), y1: plot.box.top, y2: plot.box.bottom }, plot.back);
  const styles = { precision: "line-real", recall: "line-fake", f1: "line-tuned" };
  for (const [key, points] of Object.entries(curves)) line(plot, points, `curve ${styles[key]}`);
  draw("line", { class: "rule-now", y1: plot.box.top, y2: plot.box.bottom }, plot.front);
  return plot;
}

function plotRates(host, { points, xlabel, ylabel, name, chance, note, noteAt }) {
  const plot = axes(host, { xs: UNIT, ys: UNIT, xlabel, ylabel, name, show: percent });
  line(plot, chance, "chance");
  line(plot, points, "curve");
  draw("text", { class: "name-ink", x: plot.x(noteAt[0]), y: plot.y(noteAt[1]), "text-anchor": noteAt[0] > 0.5 ? "end" : "start" }, plot.back, note);
  return plot;
}

function plotDet(host, { points, note }) {
  const marks = [0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8], edge = [0.0005, 0.9];
  const inside = points.filter((p) => p.every((v) => v <= edge[1])).map((p) => p.map((v) => Math.max(edge[0], v)));
  const plot = axes(host, { xs: edge, ys: edge, xticks: marks, yticks: marks, warp: probit, show: percent,
    xlabel: "real clips called fake, %", ylabel: "fakes missed, %", name: "DET curve: misses against false alarms" });
  line(plot, edge.map((v) => [v, v]), "chance");
  line(plot, inside, "curve");
  draw("text", { class: "name-ink", x: plot.box.right - 8, y: (plot.box.top + plot.box.bottom) / 2, "text-anchor": "end" }, plot.back, note);
  plot.clamp = (v) => Math.max(edge[0], Math.min(edge[1], v));
  return plot;
}

// One dot per bin; its area grows with the number of clips in the bin. Log-odds axes: where fakes are rare, most
// probabilities are small, and linear axes would press them into a corner.
function plotReliability(host, series) {
  const edge = [0.003, 0.997], marks = [0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99], inside = (v) => Math.max(edge[0], Math.min(edge[1], v));
  const plot = axes(host, { xs: edge, ys: edge, xticks: marks, yticks: marks, warp: (p) => Math.log(p / (1 - p)), show: percent,
    xlabel: "stated probability of fake, %", ylabel: "share that is fake, %", name: "Reliability: stated probability against the share of fakes" });
  line(plot, edge.map((v) => [v, v]), "chance");
  for (const { bins, style } of series) {
    const most = Math.max(...bins.map((b) => b.clips), 1);
    line(plot, bins.map((b) => [inside(b.probability), inside(b.share)]), `curve line-${style}`);
    for (const b of bins) draw("circle", { class: style, cx: plot.x(inside(b.probability)), cy: plot.y(inside(b.share)), r: 2 + 4 * Math.sqrt(b.clips / most) }, plot.back);
  }
  return plot;
}
