// The output of one attempt as lines: pieces of its streams come in, in any cut, and go in once even if they are read
// twice. Carriage returns overwrite, as on a terminal. Pure; the log viewer draws from it.
import { plain, render, strip } from './ansi';
import type { style } from './ansi';

export type stream = 'stdout' | 'stderr';

export interface log_line {
  stream: stream;
  /// Within its stream, from 1: a link stays right however the streams are mixed.
  number: number;
  text: string;
  /// The style it begins in.
  begin: style;
  /// Bytes that were not kept, in which case there is no text.
  gap?: number;
}

interface stream_end {
  next: number; // the byte that comes next
  lines: number;
  open: log_line | null; // the last line, whose end has not come
  raw: string; // of the open line
  style: style; // at the beginning of the open line
  decoder: TextDecoder; // holds the beginning of a character whose rest has not come
}

const encoder = new TextEncoder();

/// Of a line with carriage returns, what stands there in the end.
function overwritten(raw: string): string {
  if (!raw.includes('\r')) return raw;
  const parts = raw.split('\r');
  while (parts.length > 1 && parts[parts.length - 1] === '') parts.pop();
  return parts[parts.length - 1];
}

export class log_lines {
  readonly lines: log_line[] = [];
  private ends: Record<stream, stream_end> = { stdout: this.fresh(), stderr: this.fresh() };

  private fresh(): stream_end {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true }); // a mark at the beginning is a character, too
    return { next: 0, lines: 0, open: null, raw: '', style: plain, decoder };
  }

  /// Text or bytes that begin at this byte of their stream.
  add(name: stream, offset: number, data: string | Uint8Array): void {
    const end = this.ends[name];
    // Most text has as many bytes as characters, and is taken as it is.
    const simple = typeof data === 'string' && /^[\x00-\x7f]*$/.test(data);
    const bytes = simple ? data : typeof data === 'string' ? encoder.encode(data) : data;
    const size = bytes.length;
    if (offset + size <= end.next) return;
    const rest = bytes.slice(Math.max(0, end.next - offset));
    const torn = simple || offset > end.next ? end.decoder.decode() : '';
    end.next = offset + size;
    this.write(end, name, torn + (typeof rest === 'string' ? rest : end.decoder.decode(rest, { stream: true })));
  }

  private write(end: stream_end, name: stream, text: string): void {
    let from = 0;
    for (;;) {
      const at = text.indexOf('\n', from);
      this.extend(end, name, at < 0 ? text.slice(from) : text.slice(from, at));
      if (at < 0) return;
      this.finish(end, name);
      from = at + 1;
    }
  }

  /// Bytes that are not there any more.
  gap(name: stream, from: number, to: number): void {
    const end = this.ends[name];
    if (to <= end.next) return;
    this.write(end, name, end.decoder.decode());
    if (end.open) this.finish(end, name);
    end.next = to;
    this.lines.push({ stream: name, number: end.lines, text: '', begin: plain, gap: to - from });
  }

  /// No more comes: a torn character is shown as one.
  over(): void {
    for (const name of ['stdout', 'stderr'] as const) {
      const end = this.ends[name];
      this.write(end, name, end.decoder.decode());
    }
  }

  private extend(end: stream_end, name: stream, part: string): void {
    if (part === '') return;
    if (!end.open) {
      end.open = { stream: name, number: ++end.lines, text: '', begin: end.style };
      this.lines.push(end.open);
    }
    end.raw += part;
    if (end.raw.includes('\r')) end.raw = overwritten(end.raw) + (end.raw.endsWith('\r') ? '\r' : '');
    end.open.text = overwritten(end.raw);
  }

  private finish(end: stream_end, name: stream): void {
    if (!end.open) {
      this.lines.push({ stream: name, number: ++end.lines, text: '', begin: end.style });
      return;
    }
    if (end.style !== plain || end.open.text.includes('\x1b')) end.style = render(end.open.text, end.style).end;
    end.open = null;
    end.raw = '';
  }

  /// The first line that may still change, since its end has not come.
  get settled(): number {
    const open = [this.ends.stdout.open, this.ends.stderr.open].filter(l => l !== null);
    return open.length === 0 ? this.lines.length : Math.min(...open.map(l => this.lines.lastIndexOf(l!)));
  }
}

/// Adds to `found` the indexes of the lines from `from` on that hold this text, whatever its case.
export function search(found: number[], text: string, of: readonly log_line[], from: number): void {
  const wanted = text.toLowerCase();
  for (let i = from; i < of.length; ++i) {
    if (strip(of[i].text).toLowerCase().includes(wanted)) found.push(i);
  }
}
