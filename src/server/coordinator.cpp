// Feeds the engine and carries its effects out; see coordinator.hpp. The order within one step is: commits go
// to the store first, then outputs that are already past the gate, then look-ups.
#include "coordinator.hpp"

#include <sys/statvfs.h>
#include <algorithm>

#include <fmt/format.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/random.hpp>
#include <orchestrator/base/version.hpp>
#include <orchestrator/protocol/codec.hpp>
#include <orchestrator/server/zones.hpp>
#include <orchestrator/telemetry/log.hpp>

namespace orchestrator::server {
namespace {

constexpr auto use_awaitable = asio::use_awaitable;

/// How often the loop proves that it is scheduled. A quarter of the threshold, so that a stall is never
/// missed.
constexpr auto pulse_interval = std::chrono::milliseconds{250};
constexpr auto space_interval = std::chrono::seconds{1};
constexpr auto zone_interval = std::chrono::minutes{1};

constexpr std::uint16_t close_too_large = 1009;
constexpr std::uint16_t close_not_yours = 4003;

engine_time clock_now() { return {read_mono_clock(), read_wall_clock()}; }

telemetry::level level_of(engine::note_level l) {
  switch (l) {
    case engine::note_level::debug: return telemetry::level::debug;
    case engine::note_level::info: return telemetry::level::info;
    case engine::note_level::warning: return telemetry::level::warning;
    case engine::note_level::error: break;
  }
  return telemetry::level::error;
}

/// Only what carries a job's whole log may be larger than other messages, and only a legacy worker's does.
bool is_result(const protocol::worker_message& m) {
  const auto* invalid = std::get_if<protocol::invalid_message>(&m.body);
  return std::holds_alternative<protocol::job_result>(m.body) ||
         (invalid != nullptr && invalid->type == "job_result");
}

bool adds_to_backlog(const protocol::worker_message& m) {
  return std::holds_alternative<protocol::job_output>(m.body) ||
         std::holds_alternative<protocol::job_result>(m.body) ||
         std::holds_alternative<protocol::event>(m.body);
}

/// Why the holder of this token may not send that; empty if he may.
std::string not_allowed(const identity& from, const protocol::worker_message& m,
                        const engine::engine_view& view) {
  const link_rule& line = rule_of(m);
  if (!suffices(from.role, line.least))
    return fmt::format("{} takes a token with the role {}", line.type, to_string(line.least));
  const std::string_view sender = sender_of(m);
  // A worker is its instance, which anybody can read who can read; the name is only what it is called.
  const auto* registration = std::get_if<protocol::worker_register>(&m.body);
  if (!from.worker_id.empty() && registration != nullptr && registration->instance) {
    const auto known = view.worker_of(*registration->instance);
    if (known && *known != from.worker_id) return "this instance is another worker's";
  }
  if (from.worker_id.empty() || sender.empty() || sender == from.worker_id) return "";
  return "this token is for the worker " + from.worker_id + " only";
}

}  // namespace

coordinator::coordinator(asio::io_context& io, const engine::config& settings,
                         net::websocket_options websocket)
    : io_(io), websocket_options_(websocket), engine_(settings), metrics_(version_text), timer_(io) {}

store::store_events coordinator::events() {
  store::store_events e;
  e.persisted = [this](std::uint64_t number) {
    asio::post(io_, [this, number] {
      metrics_.committed(number, read_mono_clock());
      feed(engine::persisted{number});
      durable_->raise();
      read_on();
    });
  };
  e.output_persisted = [this](std::uint64_t number) {
    asio::post(io_, [this, number] {
      feed(engine::output_persisted{number});
      read_on();
    });
  };
  e.space = [this](bool full) {
    asio::post(io_, [this, full] {
      measure_space();  // before: what came through may have done so on what was held back
      feed(engine::space_changed{full});
    });
  };
  return e;
}

std::optional<engine::unusable_row> coordinator::start(std::unique_ptr<store::store> store_ptr,
                                                       orchestrator::snapshot snapshot,
                                                       std::filesystem::path disk) {
  store_ = std::move(store_ptr);
  disk_ = std::move(disk);
  last_pulse_ = read_mono_clock();
  metrics_.started(snapshot);
  engine::effects first = engine_.step(clock_now(), engine::started{std::move(snapshot), system_random()});
  if (first.cannot_start) {
    store_->close();
    return std::move(first.cannot_start);
  }
  carry_out(std::move(first));
  schedule_turn_end();
  arm_timer();
  measure_space();
  net::spawn(io_.get_executor(), "stall watch", watch_for_stalls());
  net::spawn(io_.get_executor(), "space watch", watch_space());
  net::spawn(io_.get_executor(), "zone watch", watch_zones());
  return std::nullopt;
}

void coordinator::stop() {
  stopping_ = true;
  feed(engine::stopping{});
  for (auto& [id, signal] : runs_) {
    if (const auto waited_for = signal.lock()) waited_for->raise();
  }
  facts_->raise();
  output_->raise();
}

void coordinator::close() {
  timer_.cancel();
  if (store_ != nullptr) store_->close();
}

// ---- requests and reads
// ----------------------------------------------------------------------------------------

asio::awaitable<engine::answer> coordinator::ask_input(engine::input in, request_id id) {
  auto initiate = [this, id](auto handler, const engine::input& i) {
    requests_.emplace(id, std::move(handler));
    feed(i);
  };
  engine::answer a = co_await asio::async_initiate<const asio::use_awaitable_t<>, void(engine::answer)>(
      std::move(initiate), use_awaitable, std::move(in));
  co_return a;
}

asio::awaitable<std::uint64_t> coordinator::read_into(std::function<void(store::reader&)> fill) {
  auto initiate = [this](auto handler, std::function<void(store::reader&)> query) {
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    auto work = asio::make_work_guard(io_);
    store_->read([this, shared, work, query = std::move(query)](store::reader& r) {
      const std::uint64_t revision = r.revision();
      query(r);
      asio::post(io_, [shared, revision] { std::move (*shared)(revision); });
    });
  };
  const std::uint64_t revision =
      co_await asio::async_initiate<const asio::use_awaitable_t<>, void(std::uint64_t)>(
          std::move(initiate), use_awaitable, std::move(fill));
  co_return revision;
}

asio::awaitable<void> coordinator::until_durable(std::uint64_t number) {
  while (view().durable() < number && !io_.stopped()) {
    co_await wait_for(durable_, durable_->count(), std::chrono::seconds{1});
  }
}

std::string coordinator::metrics_text() { return metrics_.text(view(), clock_now()); }

std::shared_ptr<change_signal> coordinator::run_changes(run_id id) {
  // What nobody holds any more goes when the table has doubled, so that it stays within twice what is held.
  if (runs_.size() >= runs_swept_at_) {
    std::erase_if(runs_, [](const auto& entry) { return entry.second.expired(); });
    runs_swept_at_ = std::max<std::size_t>(64, 2 * runs_.size());
  }
  std::weak_ptr<change_signal>& slot = runs_[id];
  std::shared_ptr<change_signal> signal = slot.lock();
  if (signal == nullptr) slot = signal = std::make_shared<change_signal>();
  return signal;
}

// ---- the engine
// ------------------------------------------------------------------------------------------------

void coordinator::feed(const engine::input& in) {
  carry_out(engine_.step(clock_now(), in));
  schedule_turn_end();
  arm_timer();
}

void coordinator::carry_out(engine::effects effects) {
  if (effects.commit_output) store_->commit_output(std::move(*effects.commit_output));
  if (effects.commit) {
    metrics_.issued(*effects.commit, view(), clock_now());
    store_->commit(std::move(*effects.commit));
  }
  if (effects.ballast) store_->hold_ballast(*effects.ballast);
  for (engine::output& o : effects.outputs) carry_out(o);
  for (engine::lookup& l : effects.lookups) look_up(l);
}

void coordinator::carry_out(engine::output& o) {
  if (auto* out = std::get_if<engine::send>(&o)) {
    const auto found = sessions_.find(out->session);
    if (found == sessions_.end()) return;
    found->second.outgoing.push_back(std::move(out->message));
    if (!std::exchange(found->second.dirty, true)) dirty_sessions_.push_back(out->session);
  } else if (auto* closing = std::get_if<engine::close_session>(&o)) {
    const auto found = sessions_.find(closing->session);
    if (found == sessions_.end()) return;
    flush(found->second);
    found->second.socket->close(closing->code, closing->reason);
  } else if (auto* pings = std::get_if<engine::set_ping_interval>(&o)) {
    const auto found = sessions_.find(pings->session);
    if (found != sessions_.end()) found->second.socket->set_ping_interval(pings->interval);
  } else if (auto* registered = std::get_if<engine::session_registered>(&o)) {
    const auto found = sessions_.find(registered->session);
    if (found == sessions_.end()) return;
    found->second.registered = true;
    found->second.batch = registered->batch;
    found->second.socket->set_max_message(registered->legacy ? limits::legacy_result_frame : limits::frame);
  } else if (auto* ping = std::get_if<engine::ping_session>(&o)) {
    const auto found = sessions_.find(ping->session);
    if (found != sessions_.end()) found->second.socket->ping();
  } else if (auto* answered = std::get_if<engine::answer>(&o)) {
    const auto found = requests_.find(answered->request);
    if (found == requests_.end()) return;
    auto handler = std::move(found->second);
    requests_.erase(found);
    // Posted: the handler's coroutine may feed the engine again, and we are inside its effects.
    asio::post(io_,
               [h = std::move(handler), a = std::move(*answered)]() mutable { std::move(h)(std::move(a)); });
  } else if (auto* changed = std::get_if<engine::notify>(&o)) {
    notify(*changed);
  } else if (auto* line = std::get_if<engine::note>(&o)) {
    telemetry::log(level_of(line->level), line->text);
  }
}

void coordinator::notify(const engine::notify& n) {
  for (const run_id& id : n.runs) {
    const auto found = runs_.find(id);
    if (found == runs_.end()) continue;
    if (const auto signal = found->second.lock()) signal->raise();
  }
  if (n.facts) facts_->raise();
  if (n.output) output_->raise();
}

void coordinator::look_up(engine::lookup& l) {
  if (auto* zone = std::get_if<engine::load_zone>(&l)) {
    zones_.insert(zone->name);
    auto loaded = load_zone_table(zone->name);
    std::optional<zone_table> table;
    if (loaded) table = std::move(*loaded);
    asio::post(io_, [this, name = zone->name, table = std::move(table)]() mutable {
      feed(engine::zone_loaded{std::move(name), std::move(table)});
    });
    return;
  }
  if (const auto* past = std::get_if<engine::load_instants>(&l)) {
    store_->read([this, after = past->after](store::reader& r) {
      asio::post(io_, [this, after, found = r.instants_after(after)]() mutable {
        feed(engine::instants_loaded{after, std::move(found)});
      });
    });
    return;
  }
  if (auto* window = std::get_if<engine::load_window>(&l)) {
    store_->read([this, w = std::move(*window)](store::reader& r) {
      asio::post(io_, [this, id = w.request, found = store::ledger_window(r, w.job, w.from, w.to)]() mutable {
        feed(engine::window_loaded{id, std::move(found)});
      });
    });
    return;
  }
  auto& wanted = std::get<engine::fetch>(l);
  store_->read([this, id = wanted.id, key = std::move(wanted.key)](store::reader& r) {
    fetched_rows rows;
    if (const auto* run = std::get_if<run_id>(&key)) rows = r.fetch_run(*run);
    if (const auto* lease = std::get_if<lease_id>(&key)) rows = r.fetch_lease(*lease);
    if (const auto* text = std::get_if<std::string>(&key)) rows = r.fetch_key(*text);
    asio::post(io_,
               [this, id, rows = std::move(rows)]() mutable { feed(engine::fetched{id, std::move(rows)}); });
  });
}

/// All inputs that are ready now belong to one turn: the end of it is posted behind them.
void coordinator::schedule_turn_end() {
  if (std::exchange(turn_end_scheduled_, true)) return;
  asio::post(io_, [this] { end_turn(); });
}

void coordinator::end_turn() {
  turn_end_scheduled_ = false;
  carry_out(engine_.step(clock_now(), engine::turn_end{}));
  for (const session_id id : std::exchange(dirty_sessions_, {})) {
    const auto found = sessions_.find(id);
    if (found != sessions_.end()) flush(found->second);
  }
  arm_timer();
}

void coordinator::flush(worker_session& session) {
  session.dirty = false;
  if (session.outgoing.empty()) return;
  const auto messages = std::exchange(session.outgoing, {});
  for (std::string& frame : protocol::encode_frames(messages, session.batch, limits::frame)) {
    session.socket->send(std::move(frame));
  }
}

// ---- time
// ------------------------------------------------------------------------------------------------------

void coordinator::arm_timer() {
  const auto next = engine_.next_deadline();
  if (next == armed_for_ || stall_pending_) return;
  armed_for_ = next;
  if (!next) {
    timer_.cancel();
    return;
  }
  const auto delay = std::max(*next - read_mono_clock(), nanoseconds{0});
  timer_.expires_after(delay);
  timer_.async_wait([this](boost::system::error_code ec) {
    if (ec || stall_pending_) return;
    // A pause of ours is handled by the watch first: deadlines move before they are judged.
    if (read_mono_clock() - last_pulse_ > limits::stall_threshold + pulse_interval) return;
    armed_for_.reset();
    feed(engine::tick{});
  });
}

/// The stall rule: if this loop was not scheduled for over a second, its sockets are drained first, then
/// every deadline is shifted by the pause, and only then is time judged again.
asio::awaitable<void> coordinator::watch_for_stalls() {
  while (!stopping_) {
    co_await net::sleep_for(pulse_interval);
    const mono_time now = read_mono_clock();
    const nanoseconds pause = now - last_pulse_ - pulse_interval;
    if (pause > limits::stall_threshold) {
      stall_pending_ = true;
      telemetry::warning("The coordinator was not scheduled for {:.1f} s: every deadline is shifted by that",
                         std::chrono::duration<double>(pause).count());
      co_await net::sleep_for(pulse_interval);  // the sockets' backlog is read meanwhile
      stall_pending_ = false;
      feed(engine::stalled{read_mono_clock() - now + pause});
    }
    last_pulse_ = read_mono_clock();
    armed_for_.reset();
    arm_timer();
  }
}

asio::awaitable<void> coordinator::watch_space() {
  while (!stopping_) {
    co_await net::sleep_for(space_interval);
    measure_space();
  }
}

/// After an update of the system's zone data every zone in use is handed to the core again.
asio::awaitable<void> coordinator::watch_zones() {
  while (!stopping_) {
    co_await net::sleep_for(zone_interval);
    if (stopping_ || !zone_data_changed()) continue;
    telemetry::info("The system's time zones have changed: {} in use are read again", zones_.size());
    for (const std::string& name : std::set<std::string>(zones_)) {
      engine::lookup again = engine::load_zone{name};
      look_up(again);
    }
  }
}

void coordinator::measure_space() {
  struct ::statvfs found{};
  if (::statvfs(disk_.c_str(), &found) != 0) return;
  feed(engine::space_measured{std::uint64_t{found.f_bavail} * found.f_frsize,
                              std::uint64_t{found.f_blocks} * found.f_frsize});
}

// ---- worker sessions
// -------------------------------------------------------------------------------------------

void coordinator::accept_worker(const std::shared_ptr<net::websocket>& socket,
                                std::shared_ptr<const identity> from) {
  const session_id id{++last_session_};
  socket->set_max_message(limits::frame_before_registration);
  net::websocket_events handlers;
  handlers.message = [this, id](const std::string& frame) { on_frame(id, frame); };
  handlers.alive = [this, id](std::optional<boot_time>) { feed(engine::session_alive{id}); };
  handlers.closed = [this, id](const net::close_info& info) {
    sessions_.erase(id);
    held_back_.erase(id);
    feed(engine::session_closed{id, info.code,
                                info.reason.empty() && info.error ? info.error.message() : info.reason});
  };
  worker_session session;
  session.socket = socket;
  session.from = std::move(from);
  sessions_.emplace(id, std::move(session));
  feed(engine::session_opened{id, socket->peer_address()});
  socket->start(std::move(handlers));
}

void coordinator::on_frame(session_id id, const std::string& frame) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  auto decoded = protocol::decode_worker_frame(frame, found->second.batch);
  const auto of_results = [&] { return decoded && std::all_of(decoded->begin(), decoded->end(), is_result); };
  if (frame.size() > limits::frame && !of_results()) {
    found->second.socket->close(close_too_large, "message too large");
    return;
  }
  if (!decoded) {
    feed(engine::session_bad_frame{id, decoded.error()});
    return;
  }
  for (const protocol::worker_message& m : *decoded) {
    if (const std::string why = not_allowed(*found->second.from, m, view()); !why.empty()) {
      found->second.socket->close(close_not_yours, why);
      return;
    }
  }
  const bool adds = std::any_of(decoded->begin(), decoded->end(), adds_to_backlog);
  feed(engine::session_frame{id, std::move(*decoded)});
  if (adds && store_->queued_bytes() > limits::store_backlog) hold_back(id);
}

/// Back-pressure: the disk is behind, so this worker is not read until it has caught up. Workers that only
/// heartbeat go on being read, and being alive.
void coordinator::hold_back(session_id id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end() || !held_back_.insert(id).second) return;
  found->second.socket->pause_reading(true);
  feed(engine::session_reading{id, false});
}

void coordinator::read_on() {
  if (held_back_.empty() || store_->queued_bytes() > limits::store_backlog / 2) return;
  for (const session_id id : std::exchange(held_back_, {})) {
    sessions_.at(id).socket->pause_reading(false);
    feed(engine::session_reading{id, true});
  }
}

}  // namespace orchestrator::server
