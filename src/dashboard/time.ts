// Times and durations as people read them. Pure but for the clock that pages tick by; used everywhere.

/// 0.85 → "850 ms", 75 → "1 m 15 s". Two units at most, so that columns stay narrow.
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '';
  if (seconds < 0) return '-' + duration(-seconds);
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const units: [string, number][] = [
    ['d', 86400],
    ['h', 3600],
    ['m', 60],
    ['s', 1],
  ];
  const at = units.findIndex(([, size]) => whole >= size);
  const [name, size] = units[at];
  const count = Math.floor(whole / size);
  const below = units[at + 1];
  if (!below) return `${count} ${name}`;
  const rest = Math.floor((whole - count * size) / below[1]);
  return rest === 0 ? `${count} ${name}` : `${count} ${name} ${rest} ${below[0]}`;
}

/// Whole seconds and coarser, for what ticks: nothing flickers between two notations.
export function coarse(seconds: number): string {
  return seconds < 1 ? '0 s' : seconds < 10 ? `${Math.floor(seconds)} s` : duration(Math.floor(seconds));
}

/// Where a moment lies seen from `now`: "3 m ago", "in 2 h 5 m", "just now". What is past is told in one unit.
export function relative(at: number, now: number): string {
  const seconds = (at - now) / 1000;
  if (Math.abs(seconds) < 1) return 'just now';
  return seconds > 0 ? `in ${coarse(seconds)}` : `${coarse(-seconds).split(' ').slice(0, 2).join(' ')} ago`;
}

const two = (n: number) => String(n).padStart(2, '0');

/// "2026-11-26 04:32:02", in UTC with a Z or in the browser's zone.
export function absolute(iso: string, utc: boolean): string {
  const t = new Date(iso);
  if (Number.isNaN(t.getTime())) return iso;
  if (utc) return t.toISOString().slice(0, 19).replace('T', ' ') + 'Z';
  return (
    `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ` +
    `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`
  );
}

/// The quarter of an hour that a moment lies in: in every time zone a day begins with one.
export const quarter = (ms: number) => ms - (ms % 900_000);

/// The same without the date when it is today's.
export function short_time(iso: string, utc: boolean, now: number): string {
  const text = absolute(iso, utc);
  const today = absolute(new Date(now).toISOString(), utc);
  return text.slice(0, 10) === today.slice(0, 10) ? text.slice(11) : text.slice(5, 16);
}

const suffixes: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400, w: 604800 };

/// "30m", "1h30m" or plain seconds, as job files have them; null if it is none.
export function parse_duration(text: string): number | null {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  let rest = text.trim();
  let total = 0;
  while (rest !== '') {
    const found = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*/.exec(rest);
    if (!found) return null;
    total += Number(found[1]) * suffixes[found[2]];
    rest = rest.slice(found[0].length);
  }
  return text.trim() === '' ? null : total;
}

/// 1536 → "1.5 KiB".
export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  let amount = n;
  while (amount >= 1024 && at < units.length - 1) {
    amount /= 1024;
    ++at;
  }
  return at === 0 || amount >= 100 ? `${Math.round(amount)} ${units[at]}` : `${amount.toFixed(1)} ${units[at]}`;
}
