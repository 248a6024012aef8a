// The page: one state (split, threshold, costs, prior), drawn from the embedded report. All text goes in by textContent.

const { report, splits, methods: METHODS, range, calibrated, formula } = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const HALF = 0, TUNED = report.threshold.value;
const state = { split: report.split, t: TUNED ?? HALF, plots: {} };

// ---- numbers -------------------------------------------------------------------------------------------------

const ratio = (a, b) => (b > 0 ? a / b : NaN);
const share = (v) => (v === null || v === undefined || !Number.isFinite(v) ? "–" : `${(100 * v).toFixed(1)} %`);
const whole = (v) => Math.round(v).toLocaleString("en");
const plain = (v, digits = 3) => (typeof v === "number" && Number.isFinite(v) ? v.toFixed(digits) : "–");
const shown = (v) => (Math.abs(v) < 1e-12 ? "0" : String(+v.toPrecision(6)));
const sigmoid = (z) => 1 / (1 + Math.exp(-z));

// Sorts a split once (falling score) and cumulates its weighted counts; everything later is a lookup.
function prepare(data) {
  const n = data.score.length, order = Array.from({ length: n }, (_, i) => i).sort((a, b) => data.score[b] - data.score[a]);
  const take = (values) => order.map((i) => values[i]);
  const split = { score: take(data.score), label: take(data.label), weight: data.weight ? take(data.weight) : new Array(n).fill(1),
    method: take(data.method), fields: {}, thinned: data.weight !== null, mistakes: data.mistakes };
  for (const [field, { names, index }] of Object.entries(data.fields)) split.fields[field] = { names, index: take(index) };
  split.tp = [0]; split.fp = [0];
  for (let i = 0; i < n; i++) {
    split.tp.push(split.tp[i] + (split.label[i] ? split.weight[i] : 0));
    split.fp.push(split.fp[i] + (split.label[i] ? 0 : split.weight[i]));
  }
  split.fakes = split.tp[n]; split.reals = split.fp[n];
  split.ends = [0];   // numbers of clips called fake that some threshold reaches: ties are never cut
  for (let i = 1; i <= n; i++) if (i === n || split.score[i] !== split.score[i - 1]) split.ends.push(i);
  return split;
}

// How many of the sorted clips score t or more.
function called(split, t) {
  let low = 0, high = split.score.length;
  while (low < high) { const mid = (low + high) >> 1; if (split.score[mid] >= t) low = mid + 1; else high = mid; }
  return low;
}

function countsAt(split, k) {
  const tp = split.tp[k], fp = split.fp[k], fn = split.fakes - tp, tn = split.reals - fp;
  const recall = ratio(tp, tp + fn), fpr = ratio(fp, fp + tn);
  return { tp, fp, fn, tn, recall, fpr, precision: ratio(tp, tp + fp), f1: ratio(2 * tp, 2 * tp + fp + fn),
    accuracy: ratio(tp + tn, tp + fp + fn + tn), balanced_accuracy: (recall + 1 - fpr) / 2 };
}

const DATA = Object.fromEntries(Object.entries(splits).map(([name, data]) => [name, prepare(data)]));
const now = () => DATA[state.split];

// ---- tables --------------------------------------------------------------------------------------------------

function node(name, { text, range, tag, bar, style, ...attributes } = {}) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (style) made.className = style;
  if (text !== undefined) made.textContent = text;
  if (tag) made.append(node("span", { text: tag, style: "tag" }));
  if (bar !== undefined) {
    const box = node("span", { style: "bar", "aria-hidden": "true" }), fill = node("i");
    fill.style.width = `${Number.isFinite(bar) ? 100 * bar : 0}%`;
    box.append(fill); made.append(box);
  }
  if (range) made.append(node("span", { text: range, style: "range" }));
  return made;
}

const asCell = (cell) => (cell !== null && typeof cell === "object" ? cell : { text: String(cell ?? "–") });

// Fills a <table>: heads and cells are text or {text, range, tag, bar, style}; the first cell of a row is its heading.
function fill(table, heads, rows) {
  const head = node("thead"), body = node("tbody"), top = node("tr");
  heads.forEach((h) => top.append(node("th", { scope: "col", ...asCell(h) })));
  if (heads.length) head.append(top);
  for (const row of rows) {
    const line = node("tr");
    row.forEach((c, i) => line.append(node(i ? "td" : "th", { ...(i ? {} : { scope: "row" }), ...asCell(c) })));
    body.append(line);
  }
  table.replaceChildren(...(heads.length ? [head] : []), body);
}

const bare = (text) => text.replace(" %", "");
const estimate = (e, show = share) => (e && e.value !== null
  ? { text: show(e.value), range: e.low === null ? "" : `${bare(show(e.low))} – ${bare(show(e.high))}` } : { text: "–" });

function card(host, title, heads, rows, notes = []) {
  const box = node("div", { style: "card" }), scroll = node("div", { style: "scroll" }), table = node("table");
  fill(table, heads, rows); scroll.append(table); box.append(node("h3", { text: title }), scroll);
  notes.forEach((text) => box.append(node("p", { text, style: "note" })));
  host.append(box);
}

// ---- what never changes ----------------------------------------------------------------------------------------

function fixed() {
  const run = report.run;
  $("facts").textContent = [run.dataset && `dataset ${run.dataset}`, run.steps && `${whole(run.steps)} steps`,
    run.seconds && `trained and scored in ${run.seconds < 90 ? `${whole(run.seconds)} s` : `${whole(run.seconds / 60)} min`}`, run.hardware].filter(Boolean).join(" · ");
  $("synthetic").hidden = !run.synthetic;
  $("verdict").replaceChildren(...report.verdict.map((text) => node("li", { text })));
  for (const name of Object.keys(DATA)) $("split").append(node("option", { text: name, value: name }));
  $("split").value = state.split;
  $("tuned").disabled = TUNED === null;
  $("key-after").hidden = !report.calibration.after;
  $("intervals").textContent = `The bootstrap ${report.bootstrap.replicates.toLocaleString("en")} times redraws ${report.bootstrap.unit}; `
    + "the small figures are the 95 % interval. This threshold's column has none: it was chosen by looking.";
  const counts = Object.entries(report.counts).map(([name, c]) => [name, whole(c.real), whole(c.fake),
    c.ratio === null ? "–" : `${c.ratio.toFixed(1)} : 1 ${c.majority}`, c.groups === null ? "–" : whole(c.groups)]);
  fill($("counts"), ["Split", "Real", "Fake", "Imbalance", "Groups"], counts);
  const kinds = Object.entries(report.ranking);
  fill($("ranking"), ["", ...kinds.map(([name]) => name)], [["AUC", "auc", plain], ["Average precision", "average_precision", plain], ["EER", "eer", share]]
    .map(([label, key, show]) => [label, ...kinds.map(([, r]) => estimate(r[key], show))]));
  calibrationTable();
  ledgerTable();
  auditTable();
}

function calibrationTable() {
  const { before, after } = report.calibration;
  const rows = [["ECE", "ece"], ["Brier score", "brier"], ["Log loss", "log_loss"]]
    .map(([label, key]) => [label, plain(before[key]), ...(after ? [plain(after[key])] : [])]);
  fill($("calibration"), ["", "as scored", ...(after ? ["calibrated"] : [])], rows);
  if (formula) $("calibration").parentNode.append(node("p", { style: "note", text: formula }));
}

// The calibrated probability at a threshold, from the curve that the report carries (null: not calibrated).
function probabilityAt(t) {
  if (!calibrated) return null;
  const place = Math.max(0, Math.min(1, (t - range[0]) / (range[1] - range[0]))) * (calibrated.length - 1);
  const k = Math.min(Math.floor(place), calibrated.length - 2);
  return sigmoid(calibrated[k] + (place - k) * (calibrated[k + 1] - calibrated[k]));
}

function ledgerTable() {
  const ledger = report.ledger;
  if (!ledger) return;
  const terms = [["Sampling", "sampling"], ["Class weights", "class_weights"], ["Focal alpha", "alpha"], ["Logit adjustment", "logit_adjustment"], ["Together", "total"]];
  const signed = (v) => (typeof v === "number" ? `${v > 0 ? "+" : ""}${plain(v)}` : "–");
  card($("ledger"), "Log-odds ledger", ["Correction for imbalance", "log-odds"], terms.map(([label, key]) => [label, signed(ledger[key])]),
    typeof ledger.implied_threshold === "number" ? [`So 0.5 on the raw score is ${share(ledger.implied_threshold)} of true probability.`] : []);
}

function auditTable() {
  const audit = report.audit;
  if (!audit) return;
  const row = (name, a) => [{ text: name, style: "text" }, a.auc === null ? "–" : { text: plain(a.auc, 2), bar: Math.max(0, 2 * a.auc - 1) }, plain(a.error, 2)];
  const rows = Object.entries(audit.features || {}).map(([name, a]) => row(name, a));
  if (audit.all) rows.unshift(row("all together", audit.all));
  card($("audit"), "Shortcut audit: what the files alone give away", ["Property", "AUC", "± error"], rows,
    [...(audit.warnings || []), ...(audit.notes || []), "A detector that does not beat these figures may have learnt how the files were made."]);
}

// ---- what changes with the split -------------------------------------------------------------------------------

const marks = () => [{ kind: "half", at: HALF }, ...(TUNED === null ? [] : [{ kind: "tuned", at: TUNED }])];
const at = (position) => range[0] + (range[1] - range[0]) * position / 1000;

function plots() {
  const s = now(), steps = s.ends.map((k) => countsAt(s, k)), auc = report.ranking[state.split];
  const P = state.plots = {};
  P.scores = plotScores($("plot-scores"), { scores: s.score, labels: s.label, weights: s.weight, range, marks: marks() });
  const grid = Array.from({ length: 241 }, (_, i) => at(i * 1000 / 240)), over = grid.map((t) => countsAt(s, called(s, t)));
  const curves = Object.fromEntries(["precision", "recall", "f1"].map((key) => [key, over.map((c, i) => [grid[i], c[key]])]));
  P.metrics = plotMetrics($("plot-metrics"), { curves, range, marks: marks() });
  const base = ratio(s.fakes, s.fakes + s.reals);
  P.pr = plotRates($("plot-pr"), { points: steps.slice(1).map((c) => [c.recall, c.precision]), chance: [[0, base], [1, base]],
    xlabel: "recall, %", ylabel: "precision, %", name: "Precision against recall", note: `AP ${plain(auc.average_precision.value)}`, noteAt: [0.03, Math.min(base + 0.03, 0.9)] });
  P.roc = plotRates($("plot-roc"), { points: steps.map((c) => [c.fpr, c.recall]), chance: [[0, 0], [1, 1]],
    xlabel: "real clips called fake, %", ylabel: "fakes found, %", name: "ROC curve", note: `AUC ${plain(auc.auc.value)}`, noteAt: [0.97, 0.05] });
  P.det = plotDet($("plot-det"), { points: steps.map((c) => [c.fpr, 1 - c.recall]), note: `EER ${share(auc.eer.value)}` });
  const { before, after } = report.calibration;
  plotReliability($("plot-reliability"), [{ bins: before.bins, style: "real" },
    ...(after ? [{ bins: after.bins, style: "fake" }] : [])]);
  $("sample").textContent = (s.thinned ? `Drawn from ${whole(s.score.length)} clips that stand for ${whole(s.fakes + s.reals)}, by evenly spaced ranks per class and generator; the columns 0.5 and tuned are exact. ` : "")
    + (state.split === report.split ? `You are looking at ${state.split}: moving the threshold here explains, but a threshold chosen here is no result. Choose on validation.` : "");
  update();
}

// ---- what changes with the threshold ---------------------------------------------------------------------------

function confusion(c) {
  const cell = (n, of, good, words) => ({ text: whole(n), range: `${words} · ${share(ratio(n, of))}`, style: good ? "good" : "bad" });
  fill($("confusion"), ["", "called real", "called fake"], [
    ["real", cell(c.tn, c.tn + c.fp, true, "passed"), cell(c.fp, c.tn + c.fp, false, "false alarms")],
    ["fake", cell(c.fn, c.tp + c.fn, false, "missed"), cell(c.tp, c.tp + c.fn, true, "found")]]);
}

function costs(c) {
  const cfp = Math.max(0, +$("cfp").value || 0), cfn = Math.max(0, +$("cfn").value || 0);
  const prior = Math.min(100, Math.max(0, $("prior").valueAsNumber || 0)) / 100, n = c.tp + c.fp + c.fn + c.tn;
  const flagged = prior * c.recall + (1 - prior) * c.fpr;
  const rows = [
    ["Called fake on this split", `${whole(c.tp + c.fp)} of ${whole(n)}`],
    ["False-alarm rate", share(c.fpr)],
    ["Cost on this split", shown(cfp * c.fp + cfn * c.fn)],
    [`In use, ${shown(100 * prior)} % fakes: flagged per 1,000`, plain(1000 * flagged, 1)],
    ["of those really fake (precision)", share(ratio(prior * c.recall, flagged))],
    ["cost per 1,000", plain(1000 * (cfp * (1 - prior) * c.fpr + cfn * prior * (1 - c.recall)), 1)]];
  if (state.split !== report.split) {
    const s = now(), best = s.ends.reduce((b, k) => { const cost = cfp * s.fp[k] + cfn * (s.fakes - s.tp[k]); return cost < b[0] ? [cost, k] : b; }, [Infinity, 0]);
    rows.push(["Lowest cost here", `${shown(best[0])} at ${best[1] ? shown(s.score[best[1] - 1]) : "no verdict"}`]);
  }
  $("costs").replaceChildren(...rows.flatMap(([name, value]) => [node("dt", { text: name }), node("dd", { text: value })]));
}

const METRIC_ROWS = [["Precision", "precision"], ["Recall", "recall"], ["F1", "f1"], ["Accuracy", "accuracy"], ["Balanced accuracy", "balanced_accuracy"]];

function compare(c) {
  const { half, tuned } = report.operating[state.split];
  const columns = [half, ...(tuned ? [tuned] : [])];
  const rows = METRIC_ROWS.map(([label, key]) => [label, ...columns.map((o) => estimate(o[key])), { text: share(c[key]), style: "now-col" }]);
  for (const [label, key] of [["Fakes found", "tp"], ["False alarms", "fp"]])
    rows.push([label, ...columns.map((o) => whole(o[key])), { text: whole(c[key]), style: "now-col" }]);
  fill($("compare"), ["", { text: "0.5", range: "logit 0" }, ...(tuned ? [{ text: "tuned", range: shown(TUNED) }] : []), { text: "this", range: shown(state.t), style: "now-col" }], rows);
}

// Clips called fake per name that `key` gives them (null: not counted): Map name -> [called, all].
function tally(s, k, key) {
  const found = new Map();
  for (let i = 0; i < s.score.length; i++) {
    const name = key(i), pair = found.get(name) || [0, 0];
    if (name === null) continue;
    if (i < k) pair[0] += s.weight[i];
    pair[1] += s.weight[i];
    found.set(name, pair);
  }
  return found;
}

function breakdown(k) {
  const s = now(), live = tally(s, k, (i) => (s.label[i] ? `fake ${s.method[i]}` : "real"));
  const current = (name) => { const [hit, all] = live.get(name) || [0, 0]; return { text: share(ratio(hit, all)), bar: ratio(hit, all), style: "now-col" }; };
  const rows = report.methods[state.split].map((m) => [{ text: m.method || "(unnamed)", tag: m.unseen ? "unseen" : undefined, style: "text" }, whole(m.clips),
    share(m.recall_half.value), estimate(m.recall), current(`fake ${METHODS.indexOf(m.method)}`), share(m.eer)]);
  const { half, tuned } = report.operating[state.split];
  rows.push([{ text: "real clips (false alarms)", style: "text" }, whole(half.fp + half.tn), share(ratio(half.fp, half.fp + half.tn)),
    tuned ? share(ratio(tuned.fp, tuned.fp + tuned.tn)) : "–", current("real"), ""]);
  fill($("methods"), [{ text: "Generator", style: "text" }, "Clips", "at 0.5", "tuned", { text: "this threshold", style: "now-col" }, "EER"], rows);
  $("subgroups").replaceChildren();
  for (const [field, { names, index }] of Object.entries(s.fields)) {
    if (names.every((name) => !name)) continue;
    const real = tally(s, k, (i) => (s.label[i] ? null : names[index[i]])), fake = tally(s, k, (i) => (s.label[i] ? names[index[i]] : null));
    card($("subgroups"), `By ${field}`, [{ text: field, style: "text" }, "Fakes", "found", "Real", "false alarms"], names.map((name) => {
      const [a, b] = fake.get(name) || [0, 0], [c, d] = real.get(name) || [0, 0];
      return [{ text: name || "(unknown)", style: "text" }, whole(b), { text: share(ratio(a, b)), style: "now-col" }, whole(d), { text: share(ratio(c, d)), style: "now-col" }];
    }));
  }
}

function mistakes() {
  const { alarms, misses } = now().mistakes;
  const rows = (list) => (list.length ? list.slice(0, 10).map((m) => [{ text: m.clip, style: "text", range: m.method }, plain(m.score, 2)]) : [[{ text: "none at this threshold", style: "text" }, ""]]);
  fill($("alarms"), [{ text: "Clip", style: "text" }, "Score"], rows(alarms.filter((m) => m.score >= state.t)));
  fill($("misses"), [{ text: "Clip", style: "text" }, "Score"], rows(misses.filter((m) => m.score < state.t)));
}

function markers(c) {
  const P = state.plots, seen = Math.max(range[0], Math.min(range[1], state.t)), px = P.scores.x(seen);
  P.scores.now.setAttribute("transform", `translate(${px} 0)`);
  for (const l of P.metrics.front.children) { l.setAttribute("x1", P.metrics.x(seen)); l.setAttribute("x2", P.metrics.x(seen)); }
  const points = [...marks().map(({ kind, at: t }) => [kind, countsAt(now(), called(now(), t))]), ["now", c]];
  const put = (plot, f) => dots(plot, points.map(([kind, p]) => ({ kind, at: f(p) })));
  put(P.pr, (p) => [p.recall, p.precision]);
  put(P.roc, (p) => [p.fpr, p.recall]);
  put(P.det, (p) => [P.det.clamp(p.fpr), P.det.clamp(1 - p.recall)]);
}

function update() {
  const s = now(), k = called(s, state.t), c = countsAt(s, k);
  const p = probabilityAt(state.t), probability = p === null ? "" : `, estimated probability ${share(p)}`;
  $("line").textContent = `Threshold ${shown(state.t)}${probability}: finds ${share(c.recall)} of the fakes, `
    + `flags ${share(c.fpr)} of the real clips; ${share(c.precision)} of the flagged are fake.`;
  $("threshold").value = Math.round(1000 * (state.t - range[0]) / (range[1] - range[0]));
  $("threshold").setAttribute("aria-valuetext", `${shown(state.t)}, recall ${share(c.recall)}, precision ${share(c.precision)}`);
  if (document.activeElement !== $("value")) $("value").value = shown(state.t);
  $("half").setAttribute("aria-pressed", state.t === HALF);
  $("tuned").setAttribute("aria-pressed", state.t === TUNED);
  confusion(c); costs(c); compare(c); breakdown(k); mistakes(); markers(c);
}

let pending = 0;
function setThreshold(t) {
  if (!Number.isFinite(t)) return;
  state.t = t;
  cancelAnimationFrame(pending);
  pending = requestAnimationFrame(() => {
    update();
    // a link to this view; some browsers forbid it on file://
    try { history.replaceState(null, "", `#threshold=${state.t}&split=${encodeURIComponent(state.split)}`); } catch { /* fine without */ }
  });
}

// To the next clip's own score, so that exactly one distinct score changes side.
function stepTo(direction) {
  const s = now(), k = called(s, state.t);
  if (direction < 0) { if (k < s.score.length) setThreshold(s.score[k]); return; }
  if (!k) return;
  let i = k - 1;
  while (i >= 0 && s.score[i] === s.score[k - 1]) i--;
  setThreshold(i >= 0 ? s.score[i] : s.score[0] + (range[1] - range[0]) / 1000);
}

function listen() {
  $("threshold").addEventListener("input", (e) => setThreshold(at(+e.target.value)));
  $("value").addEventListener("input", (e) => setThreshold(e.target.valueAsNumber));
  $("previous").addEventListener("click", () => stepTo(-1));
  $("next").addEventListener("click", () => stepTo(1));
  $("half").addEventListener("click", () => setThreshold(HALF));
  $("tuned").addEventListener("click", () => setThreshold(TUNED));
  $("split").addEventListener("change", (e) => { state.split = e.target.value; plots(); setThreshold(state.t); });
  for (const id of ["cfp", "cfn", "prior"]) $(id).addEventListener("input", update);
  const host = $("plot-scores");
  const drag = (e) => { const { left, right } = state.plots.scores.box, x = e.clientX - host.getBoundingClientRect().left;
    setThreshold(at(1000 * Math.max(0, Math.min(1, (x - left) / (right - left))))); };
  host.addEventListener("pointerdown", (e) => { host.setPointerCapture(e.pointerId); drag(e); });
  host.addEventListener("pointermove", (e) => { if (host.hasPointerCapture(e.pointerId)) drag(e); });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; plots(); } });
}

const link = new URLSearchParams(location.hash.slice(1));
if (DATA[link.get("split")]) state.split = link.get("split");
if (link.get("threshold") && Number.isFinite(+link.get("threshold"))) state.t = +link.get("threshold");
$("prior").value = +(100 * ratio(now().fakes, now().fakes + now().reals)).toPrecision(3);
fixed();
listen();
plots();
