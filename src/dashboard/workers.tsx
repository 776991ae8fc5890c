// Workers: who is there, how busy, and who is to take no more work.
import { all, post } from './api';
import type { run, worker } from './api';
import { use_resource } from './live';
import { bytes, coarse } from './time';
import { Action, ActionsHead, Meter, Missing, Page, RunLink, Scroll, State, Tags, Time, say } from './ui';

export function state_of(w: worker): string {
  if (w.state !== 'online') return w.state;
  if (w.draining) return 'draining';
  return w.running > 0 ? 'busy' : 'online';
}

export const WorkerState = ({ of }: { of: worker }) => <State of={state_of(of)} note={of.legacy ? 'legacy' : ''} />;
export const Slots = ({ of }: { of: worker }) => (
  <Meter used={of.running} of={of.slots} label={`slots used of ${of.worker_id}`} />
);

const amount = (name: string, of: number | string) =>
  typeof of === 'number' && name === 'memory' ? bytes(of) : String(of);

export function Workers() {
  const workers = use_resource('workers', ['workers', 'runs'], signal => all<worker>('/workers', signal), true);
  const running = use_resource('active', ['runs'], signal => all<run>('/runs?state=active', signal, 500));
  const runs_of = (id: string) =>
    (running.data ?? []).filter(r => r.attempts[r.attempts.length - 1]?.worker_id === id);
  const { data } = workers;
  const drain = async (w: worker) => {
    await post(`/workers/${encodeURIComponent(w.worker_id)}/${w.draining ? 'resume' : 'drain'}`);
    say(w.draining ? `${w.worker_id} takes work again` : `${w.worker_id} takes no new work`);
    workers.reload();
  };
  const count = (state: string) => (data ?? []).filter(w => w.state === state).length;
  return (
    <Page
      title="Workers"
      sub={
        data && (
          <span aria-live="polite">
            {count('online')} online, {count('stale')} stale, {count('offline')} offline
          </span>
        )
      }>
      {!data ? (
        <Missing error={workers.error} what="workers" />
      ) : data.length === 0 ? (
        <p class="empty">
          No worker has connected. Start one on each machine:{' '}
          <code>orchestrator --role=worker --server {location.host}</code>
        </p>
      ) : (
        <Scroll label="Workers">
          <table>
            <thead>
              <tr>
                <th>Worker</th>
                <th>State</th>
                <th>Slots used</th>
                <th>Runs now</th>
                <th>Labels and resources</th>
                <th>Machine</th>
                <th class="right">Up</th>
                <th class="right">Jobs done</th>
                <th class="right">Last heard</th>
                <ActionsHead />
              </tr>
            </thead>
            <tbody>
              {data.map(w => (
                <tr key={w.worker_id}>
                  <th scope="row" class="name">
                    {w.worker_id}
                  </th>
                  <td>
                    <WorkerState of={w} />
                  </td>
                  <td>
                    <Slots of={w} />
                  </td>
                  <td>
                    {runs_of(w.worker_id)
                      .slice(0, 4)
                      .map(r => (
                        <span class="tag" key={r.id}>
                          {r.job} <RunLink id={r.id} />
                        </span>
                      ))}
                    {runs_of(w.worker_id).length > 4 && (
                      <a href={`/runs?state=active&worker=${encodeURIComponent(w.worker_id)}`}>all</a>
                    )}
                  </td>
                  <td>
                    <Tags of={w.labels} />
                    {Object.entries(w.resources).map(([k, v]) => (
                      <span class="tag faint" key={k}>
                        {k} {amount(k, v)}
                      </span>
                    ))}
                  </td>
                  <td class="faint">
                    {w.hostname}
                    {w.version && ` · ${w.version}`}
                  </td>
                  <td class="right num">{w.uptime_seconds > 0 ? coarse(w.uptime_seconds) : '–'}</td>
                  <td class="right num">
                    <a href={`/runs?worker=${encodeURIComponent(w.worker_id)}`}>{w.jobs_processed}</a>
                  </td>
                  <td class="right num">
                    <Time at={w.last_seen} />
                  </td>
                  <td class="right">
                    <Action kind="small" run={() => drain(w)}>
                      {w.draining ? 'Resume' : 'Drain'}
                    </Action>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Page>
  );
}
