// The event log: the newest first, growing at the top until it is held, and older ones on demand.
import { useEffect, useRef, useState } from 'preact/hooks';
import { seen } from './ansi';
import { call, path_of } from './api';
import type { event, page } from './api';
import { on_event, use_resource } from './live';
import { Action, Missing, Page, Scroll, Time, value_of } from './ui';

const PAGE = 200;
const MOST = 2000; // rows on the screen; older ones go from the end

function Subject({ of }: { of: string }) {
  const [kind, ...rest] = of.split('/');
  const name = rest.join('/');
  if (kind === 'run')
    return (
      <a class="mono" href={path_of.run(name)} title={name}>
        run/{name.slice(-8)}
      </a>
    );
  if (kind === 'job') return <a href={path_of.job(name)}>{of}</a>;
  return <>{of}</>;
}

function data_of(e: event): string {
  if (typeof e.data === 'string') return e.data;
  return Object.entries(e.data)
    .map(([k, v]) => `${k}=${typeof v === 'object' ? JSON.stringify(v) : v}`)
    .join(' ');
}

export function Events() {
  const first = use_resource('events', [], signal => call<page<event>>(`/events?limit=${PAGE}`, { signal }));
  const [rows, set_rows] = useState<event[]>([]);
  const [held, set_held] = useState(false);
  const [filter, set_filter] = useState('');
  const waiting = useRef<event[]>([]);
  const [count, set_count] = useState(0);
  const merge = (more: event[]) =>
    set_rows(was => {
      const known = new Map([...was, ...more].map(e => [e.sequence, e]));
      return [...known.values()].sort((a, b) => b.sequence - a.sequence).slice(0, MOST);
    });
  useEffect(() => {
    const items = first.data?.items ?? [];
    // After a long absence a part would be missing in the middle: then it begins anew.
    if (rows.length > 0 && items.length > 0 && items[0].sequence > rows[0].sequence + 1) set_rows([]);
    merge(items);
  }, [first.data]);
  useEffect(() => {
    let timer = 0;
    const flush = () => {
      timer = 0;
      if (held) set_count(waiting.current.length);
      else merge(waiting.current.splice(0));
    };
    if (!held && waiting.current.length > 0) flush();
    const stop = on_event(e => {
      waiting.current.push(e);
      if (waiting.current.length > MOST) waiting.current.shift();
      if (timer === 0) timer = window.setTimeout(flush, 200);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [held]);
  const older = async () => {
    const before = rows[rows.length - 1].sequence;
    const after = Math.max(0, before - 1 - PAGE);
    const got = await call<page<event>>(`/events?after=${after}&limit=${PAGE}`);
    merge(got.items.filter(e => e.sequence < before));
  };
  const wanted = filter.trim().toLowerCase();
  const shown =
    wanted === '' ? rows : rows.filter(e => `${e.type} ${e.subject} ${data_of(e)}`.toLowerCase().includes(wanted));
  return (
    <Page
      title="Events"
      sub="What the coordinator recorded, newest first."
      actions={
        <>
          <input
            type="search"
            aria-label="Filter the events shown"
            placeholder="Filter, such as run.failed"
            value={filter}
            data-search
            onInput={e => set_filter(value_of(e))}
          />
          <button type="button" aria-pressed={held} onClick={() => set_held(!held)}>
            {held ? `Go on (${count} new)` : 'Hold'}
          </button>
        </>
      }>
      {!first.data ? (
        <Missing error={first.error} what="events" />
      ) : (
        <Scroll label="Events">
          <table>
            <thead>
              <tr>
                <th class="right">Number</th>
                <th>Time</th>
                <th>Type</th>
                <th>About</th>
                <th>Data</th>
              </tr>
            </thead>
            <tbody>
              {shown.map(e => (
                <tr key={e.sequence}>
                  <td class="right num faint">{e.sequence}</td>
                  <td class="num">
                    <Time at={e.at} mode="short" />
                  </td>
                  <td class="mono">{e.type}</td>
                  <td>
                    <Subject of={e.subject} />
                  </td>
                  <td class="mono faint break">{seen(data_of(e))}</td>
                </tr>
              ))}
            </tbody>
          </table>
          {shown.length === 0 && <p class="empty">No event {rows.length > 0 ? 'fits the filter' : 'yet'}.</p>}
          {rows.length > 0 && rows[rows.length - 1].sequence > 1 && rows.length < MOST && (
            <p class="more">
              <Action run={older}>Older ones</Action>
            </p>
          )}
        </Scroll>
      )}
    </Page>
  );
}
