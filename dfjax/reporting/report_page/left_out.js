
// ---- domains that the detector was trained without ----------------------------------------------------------------

function leftOut() {
  const found = report.left_out, text = (words) => ({ text: words, style: "text" });
  const cells = (row) => [plain(row.auc), share(row.eer),
    ...["false_alarms", "misses"].map((key) => (typeof row[key] === "object" ? estimate(row[key]) : share(row[key])))];
  $("h-left-out").textContent = `On a ${found.noun} that it has never heard`;
  $("left-out-words").textContent = [found.words, found.certificate].filter(Boolean).map((words) => `${words[0].toUpperCase()}${words.slice(1)}.`).join(" ");
  const rows = found.rows.map((row) => [text(row.domain || "(unnamed)"), whole(row.real), whole(row.fake), ...cells(row)]);
  rows.push([text(`mean ${found.noun}`), "", "", ...cells(found.mean)], [text("worst"), "", "", ...cells(found.worst)],
    [text(`for comparison: ${found.in_domain.split}, known to training`), "", "", ...cells(found.in_domain)]);
  fill($("left-out"), [text(found.noun), "Real", "Fake", "AUC", "EER", "False alarms", "Misses"], rows);
  $("left-out-note").textContent = `Each ${found.noun} was scored by networks trained without it. False alarms and misses are those at the tuned threshold`
    + `${TUNED === null ? "" : ` (${shown(TUNED)})`}, which weighs every ${found.noun} alike; the small figures are the 95 % interval.`;
}

leftOut();
