// The list of runs: filtered by the address, loaded as far as one scrolls, live without moving what is being read, and
// with actions on many at once.
import { Component } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { call, post, problem } from './api';
import type { page, run } from './api';
import { on_event, use_resource } from './live';
import { body_of, filter_of, is_empty, run_states, search_of } from './query';
import type { run_filter } from './query';
import { go, place } from './router';
import { append, first_rows, lay_over, take_fresh } from './rows';
import type { rows } from './rows';
import { duration } from './time';
import { told_cancels } from './words';
import {
  Confirm,
  Elapsed,
  JobLink,
  Missing,
  Page,
  RunLink,
  RunState,
  Scroll,
  Tags,
  Time,
  colour_of,
  say,
  value_of,
  word_of,
} from './ui';

const PAGE = 100;
const ALONE_MOST = 25; // changed rows that are asked for one by one; more wait for the next look
const is_final = (r: run) => r.finished_at !== null;

const list_path = (search: string, cursor?: string) =>
  `/runs${search === '' ? '?' : search + '&'}limit=${PAGE}${cursor ? `&cursor=${cursor}` : ''}`;

// ---- the filter

function Filters({ filter }: { filter: run_filter }) {
  const [draft, set_draft] = useState(filter);
  const search = search_of(filter);
  useEffect(() => set_draft(filter), [search]);
  const apply = (f: run_filter) => go('/runs' + search_of(f), true);
  const text = (key: 'job' | 'worker' | 'tag' | 'since', label: string, placeholder: string) => (
    <label class="inline">
      {label}
      <input
        value={draft[key]}
        placeholder={placeholder}
        data-search={key === 'job' ? '' : undefined}
        onInput={e => set_draft({ ...draft, [key]: value_of(e) })}
        onChange={e => apply({ ...draft, [key]: value_of(e).trim() })}
      />
    </label>
  );
  const toggle = (state: string) => {
    const on = filter.state.includes(state) ? filter.state.filter(s => s !== state) : [...filter.state, state];
    apply({ ...filter, state: run_states.filter(s => on.includes(s)) });
  };
  return (
    <form
      class="filters"
      role="search"
      aria-label="Runs"
      onSubmit={e => {
        e.preventDefault();
        apply(draft);
      }}>
      <div class="chips" role="group" aria-label="State">
        {run_states.map(s => (
          <button
            type="button"
            key={s}
            class={`chip ${colour_of(s)}`}
            aria-pressed={filter.state.includes(s)}
            onClick={() => toggle(s)}>
            {word_of(s)}
          </button>
        ))}
      </div>
      {text('job', 'Job', 'any')}
      {text('worker', 'Worker', 'any')}
      {text('tag', 'Tag', 'key=value')}
      {text('since', 'Since', '2h or a time')}
      {!is_empty(filter) && (
        <a class="button" href="/runs">
          Clear
        </a>
      )}
      <button class="hidden">Apply</button>
    </form>
  );
}

// ---- rows that stay where they are

function use_runs(search: string, hold: () => boolean) {
  const first = use_resource('runs' + search, ['runs'], signal => call<page<run>>(list_path(search), { signal }));
  const [state, set_state] = useState<{ search: string; rows?: rows<run> }>({ search });
  useEffect(() => {
    if (!first.data) return;
    const data = first.data;
    set_state(was => {
      if (was.search !== search || !was.rows) {
        return { search, rows: first_rows(data) };
      }
      return { search, rows: lay_over(was.rows, data, hold()) };
    });
  }, [first.data, search]);
  const rows = state.search === search ? state.rows : undefined;
  const now_rows = useRef(rows);
  now_rows.current = rows;

  // Rows below the first page, and those that left it, change too: each is asked for by itself.
  useEffect(() => {
    const changed = new Set<string>();
    let timer = 0;
    const look = async () => {
      timer = 0;
      const ids = [...changed].slice(0, ALONE_MOST);
      ids.forEach(id => changed.delete(id));
      const found = await Promise.all(ids.map(id => call<run>(`/runs/${id}`).catch(() => null)));
      const by_id = new Map(found.filter(r => r !== null).map(r => [r!.id, r!]));
      set_state(was =>
        was.search !== search || !was.rows
          ? was
          : { ...was, rows: { ...was.rows, items: was.rows.items.map(r => by_id.get(r.id) ?? r) } },
      );
      if (changed.size > 0) timer = window.setTimeout(look, 500);
    };
    const stop = on_event(e => {
      const id = e.subject.slice(4);
      const at = now_rows.current?.items.findIndex(r => r.id === id) ?? -1;
      if (!e.subject.startsWith('run/') || at < 0) return;
      if (at < PAGE / 2 && search === '') return; // the first page shows it anyway
      changed.add(id);
      if (timer === 0) timer = window.setTimeout(look, 300);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [search]);

  const more = async () => {
    if (!rows?.next) return;
    const got = await call<page<run>>(list_path(search, rows.next));
    set_state(was => (was.search !== search || !was.rows ? was : { search, rows: append(was.rows, got) }));
  };
  const show_fresh = () => set_state(was => (was.rows ? { search, rows: take_fresh(was.rows) } : was));
  return { rows, error: first.error, more, show_fresh, reload: first.reload };
}

/// Loads the next page when its place comes near the screen; also a button, for whoever does not scroll.
function More({ load }: { load: () => Promise<void> }) {
  const ref = useRef<HTMLParagraphElement>(null);
  const [busy, set_busy] = useState(false);
  const [failed, set_failed] = useState<problem>();
  const latest = useRef(load);
  latest.current = load;
  const go_on = async () => {
    set_busy(true);
    set_failed(undefined);
    try {
      await latest.current();
    } catch (e) {
      set_failed(e as problem);
    }
    set_busy(false);
  };
  useEffect(() => {
    if (busy || failed) return;
    const seen = new IntersectionObserver(entries => entries.some(e => e.isIntersecting) && void go_on(), {
      rootMargin: '400px',
    });
    seen.observe(ref.current!);
    return () => seen.disconnect();
  }, [busy, failed]);
  return (
    <p class="more" ref={ref}>
      {failed && <span class="bad">{failed.detail} </span>}
      <button type="button" disabled={busy} onClick={go_on}>
        {busy ? 'Loading…' : 'Load more'}
      </button>
    </p>
  );
}

// ---- actions on many

interface retried {
  matched: number;
  retried: number;
  retried_before: number;
  not_ended: number;
  more: boolean;
  items: unknown[];
}

function RetryAll({ filter, close }: { filter: run_filter; close: () => void }) {
  const body = { ...body_of(filter), limit: 1000 };
  const dry = use_resource('retry' + JSON.stringify(body), [], () =>
    post<retried>('/runs:retry', { ...body, dry_run: true }),
  );
  const found = dry.data?.items.length ?? 0;
  const what = filter.state.length > 0 ? filter.state.map(word_of).join(', ') : 'failed';
  return (
    <Confirm
      title="Retry all that match"
      yes={found > 0 ? `Retry ${found}` : 'Retry'}
      kind="main"
      close={close}
      disabled={found === 0}
      run={async () => {
        const done = await post<retried>('/runs:retry', body);
        say(`${done.retried} new runs`, { link: '/runs?state=queued,active' });
      }}>
      {!dry.data ? (
        <Missing error={dry.error} what="matching runs" />
      ) : (
        <>
          <p>
            <strong>{found}</strong> of {dry.data.matched} matching runs ({what}
            {is_empty({ ...filter, state: [] }) ? '' : ', filtered'}) would be started again as new runs.
          </p>
          {dry.data.retried_before > 0 && <p>{dry.data.retried_before} were retried before and are left out.</p>}
          {dry.data.not_ended > 0 && <p>{dry.data.not_ended} have not ended and are left out.</p>}
          {dry.data.more && <p>More match: at most 1,000 are retried at a time.</p>}
        </>
      )}
    </Confirm>
  );
}

function CancelChosen({ ids, close, done }: { ids: string[]; close: () => void; done: () => void }) {
  return (
    <Confirm
      title={`Cancel ${ids.length} ${ids.length === 1 ? 'run' : 'runs'}`}
      yes="Cancel them"
      close={close}
      run={async () => {
        const answers = await Promise.all(
          ids.map(id =>
            post<run>(`/runs/${id}/cancel`).then(
              now => ({ now }),
              e => ({ failed: (e as problem).detail }),
            ),
          ),
        );
        const { text, bad } = told_cancels(answers);
        say(text, { bad });
        done();
      }}>
      <p>What waits will not start; what runs is stopped, and gets its grace to end by itself.</p>
    </Confirm>
  );
}

// ---- the page

export async function retry_run(id: string, key: string): Promise<run> {
  return await post<run>(`/runs/${encodeURIComponent(id)}/retry`, undefined, { 'Idempotency-Key': key });
}

export function Taken({ run }: { run: run }) {
  if (run.duration_seconds !== null) return <>{duration(run.duration_seconds)}</>;
  if (run.state === 'active' && run.started_at) return <Elapsed since={run.started_at} />;
  return <span class="faint">–</span>;
}

interface row_props {
  run: run;
  chosen: boolean;
  left: boolean;
  choose: (id: string, on: boolean) => void;
}

/// One row. In a list of thousands, only those that changed are drawn again.
class Row extends Component<row_props> {
  shouldComponentUpdate(next: row_props): boolean {
    const was = this.props;
    return next.run !== was.run || next.chosen !== was.chosen || next.left !== was.left;
  }

  render({ run: r, chosen, left, choose }: row_props) {
    return (
      <tr class={left ? 'left' : ''}>
        <td class="check">
          <input
            type="checkbox"
            aria-label={`Select run ${r.id.slice(-8)}`}
            disabled={is_final(r)}
            checked={chosen && !is_final(r)}
            onChange={e => choose(r.id, e.currentTarget.checked)}
          />
        </td>
        <td>
          <RunLink id={r.id} />
        </td>
        <td>
          <JobLink name={r.job} />
          {r.retry_of && <span class="faint"> retry</span>}
          {r.attempts.length > 1 && <span class="faint"> ×{r.attempts.length}</span>}
        </td>
        <td>
          <RunState run={r} />
        </td>
        <td class="faint">{r.attempts[r.attempts.length - 1]?.worker_id}</td>
        <td class="right num">
          <Taken run={r} />
        </td>
        <td class="right num">
          <Time at={r.submitted_at} mode="short" />
        </td>
        <td>
          <Tags of={r.tags} />
        </td>
      </tr>
    );
  }
}

export function Runs() {
  const filter = filter_of(place.value.search);
  const search = search_of(filter);
  const [chosen, set_chosen] = useState<Set<string>>(new Set());
  const [dialog, set_dialog] = useState<'retry' | 'cancel' | ''>('');
  const reading = () => scrollY > 60 || chosen.size > 0;
  const { rows, error, more, show_fresh, reload } = use_runs(search, reading);
  useEffect(() => set_chosen(new Set()), [search]);
  const choose = (id: string, on: boolean) =>
    set_chosen(was => new Set(on ? [...was, id] : [...was].filter(other => other !== id)));
  const open_ids = (rows?.items ?? []).filter(r => !is_final(r)).map(r => r.id);
  return (
    <Page
      title="Runs"
      actions={
        <>
          {chosen.size > 0 && (
            <button type="button" class="danger" onClick={() => set_dialog('cancel')}>
              Cancel {chosen.size} selected
            </button>
          )}
          <button type="button" onClick={() => set_dialog('retry')}>
            Retry all that match…
          </button>
        </>
      }>
      <Filters filter={filter} />
      {rows && rows.fresh.length > 0 && (
        <button
          type="button"
          class="pill"
          onClick={() => {
            show_fresh();
            scrollTo({ top: 0 });
          }}>
          {rows.fresh.length}
          {rows.fresh_next !== null ? '+' : ''} new
        </button>
      )}
      {!rows ? (
        <Missing error={error} what="runs" />
      ) : rows.items.length === 0 ? (
        <p class="empty">No run {is_empty(filter) ? 'yet' : 'matches'}.</p>
      ) : (
        <Scroll label="Runs">
          <table class="runs">
            <thead>
              <tr>
                <th class="check">
                  <input
                    type="checkbox"
                    aria-label="Select all that have not ended"
                    disabled={open_ids.length === 0}
                    checked={open_ids.length > 0 && open_ids.every(id => chosen.has(id))}
                    onChange={e => set_chosen(e.currentTarget.checked ? new Set(open_ids) : new Set())}
                  />
                </th>
                <th>Run</th>
                <th>Job</th>
                <th>State</th>
                <th>Worker</th>
                <th class="right">Took</th>
                <th class="right">Submitted</th>
                <th>Tags</th>
              </tr>
            </thead>
            <tbody>
              {rows.items.map(r => (
                <Row key={r.id} run={r} chosen={chosen.has(r.id)} left={rows.gone.has(r.id)} choose={choose} />
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {rows?.next && <More load={more} key={search} />}
      {dialog === 'retry' && <RetryAll filter={filter} close={() => set_dialog('')} />}
      {dialog === 'cancel' && (
        <CancelChosen
          ids={[...chosen]}
          close={() => set_dialog('')}
          done={() => {
            set_chosen(new Set());
            reload();
          }}
        />
      )}
    </Page>
  );
}
