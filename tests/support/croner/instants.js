// Reads a JSON list of {pattern, zone, from, to} (times in milliseconds) and writes a list of the instants of each
// from `from` on and before `to`, as croner finds them; or of {zone, at: times}, and writes what is ahead of UTC there in
// minutes, as Node's own zone data says. Called by tests/integration/croner_test.py, which has put croner beside this
// file with `npm ci`.
import { Cron } from "croner";
import { readFileSync } from "node:fs";

const questions = JSON.parse(readFileSync(0, "utf8"));
const offset = (zone, at) => {
  const format = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" });
  const text = format.formatToParts(at).find((part) => part.type === "timeZoneName").value;
  const [, sign, hours, minutes] = /^GMT(?:([+-])(\d\d):(\d\d))?/.exec(text);
  return sign === undefined ? 0 : Number(`${sign}1`) * (Number(hours) * 60 + Number(minutes));
};
const answers = questions.map(({ pattern, zone, from, to, at }) => {
  if (at !== undefined) return { offsets: at.map((each) => offset(zone, each)) };
  try {
    const cron = new Cron(pattern, { timezone: zone, paused: true });
    const found = [];
    for (let at = cron.nextRun(new Date(from - 1000)); at !== null && at.getTime() < to; at = cron.nextRun(at))
      found.push(at.getTime());
    return { found };
  } catch (error) {
    return { refused: String(error.message) };
  }
});
process.stdout.write(JSON.stringify(answers));
