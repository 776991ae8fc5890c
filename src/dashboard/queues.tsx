// Queues: how deep, how fast they may go, and a way to stop them.
import { useState } from 'preact/hooks';
import { all, call, post, problem } from './api';
import type { queue } from './api';
import { use_resource } from './live';
import { Action, ActionsHead, Dialog, Field, Missing, Page, Scroll, State, say, say_problem, value_of } from './ui';

function Edit({ of, close, done }: { of: queue; close: () => void; done: () => void }) {
  const [concurrency, set_concurrency] = useState(of.concurrency === null ? '' : String(of.concurrency));
  const [rate, set_rate] = useState(of.rate ?? '');
  const [priority, set_priority] = useState(String(of.priority));
  const [failed, set_failed] = useState<problem>();
  const error = (pointer: string) => failed?.errors.find(e => e.pointer === pointer)?.detail;
  const number = (text: string) => (/^-?\d+$/.test(text.trim()) ? Number(text) : text);
  const save = async (e: Event) => {
    e.preventDefault();
    try {
      await call(`/queues/${encodeURIComponent(of.name)}`, {
        method: 'PUT',
        body: {
          concurrency: concurrency.trim() === '' ? null : number(concurrency),
          rate: rate.trim() === '' ? null : rate.trim(),
          priority: number(priority),
        },
      });
      say(`${of.name} is changed`);
      done();
      close();
    } catch (e) {
      if (e instanceof problem && e.errors.length > 0) set_failed(e);
      else say_problem(e);
    }
  };
  return (
    <Dialog title={`Queue ${of.name}`} close={close}>
      <form onSubmit={save} class="form">
        <Field label="Runs at once" hint="Empty: no limit" error={error('/concurrency')}>
          {p => <input {...p} value={concurrency} onInput={e => set_concurrency(value_of(e))} inputMode="numeric" />}
        </Field>
        <Field label="Starts" hint="Such as 10/m or 1/6s; empty: no limit" error={error('/rate')}>
          {p => <input {...p} value={rate} onInput={e => set_rate(value_of(e))} />}
        </Field>
        <Field label="Priority" hint="Added to that of its runs; larger goes first" error={error('/priority')}>
          {p => <input {...p} value={priority} onInput={e => set_priority(value_of(e))} inputMode="numeric" />}
        </Field>
        <div class="buttons">
          <button type="button" onClick={close}>
            Back
          </button>
          <button class="main">Save</button>
        </div>
      </form>
    </Dialog>
  );
}

export function Queues() {
  const [edited, set_edited] = useState<queue>();
  const { data, error, reload } = use_resource('queues', ['queues', 'runs'], signal => all<queue>('/queues', signal));
  const pause = async (q: queue) => {
    await post(`/queues/${encodeURIComponent(q.name)}/${q.paused ? 'resume' : 'pause'}`);
    say(q.paused ? `Runs of ${q.name} start again` : `No run of ${q.name} starts`);
    reload();
  };
  return (
    <Page title="Queues" sub="A queue exists by its name: those with runs, and those that were set up.">
      {!data ? (
        <Missing error={error} what="queues" />
      ) : data.length === 0 ? (
        <p class="empty">
          No queue has runs or settings. A job names its queue with <code>queue = "etl"</code>.
        </p>
      ) : (
        <Scroll label="Queues">
          <table>
            <thead>
              <tr>
                <th>Queue</th>
                <th>State</th>
                <th class="right">Waiting</th>
                <th class="right">Running</th>
                <th class="right">At once</th>
                <th class="right">Starts</th>
                <th class="right">Priority</th>
                <ActionsHead />
              </tr>
            </thead>
            <tbody>
              {data.map(q => (
                <tr key={q.name}>
                  <th scope="row" class="name">
                    {q.name}
                  </th>
                  <td>
                    <State of={q.paused ? 'paused' : 'ready'} />
                  </td>
                  <td class="right num">{q.waiting}</td>
                  <td class="right num">{q.running}</td>
                  <td class="right num">{q.concurrency ?? <span class="faint">no limit</span>}</td>
                  <td class="right num">{q.rate ?? <span class="faint">no limit</span>}</td>
                  <td class="right num">{q.priority}</td>
                  <td class="right buttons">
                    <button type="button" class="small" onClick={() => set_edited(q)}>
                      Limits
                    </button>
                    <Action kind="small" run={() => pause(q)}>
                      {q.paused ? 'Resume' : 'Pause'}
                    </Action>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {edited && <Edit of={edited} close={() => set_edited(undefined)} done={reload} />}
    </Page>
  );
}
