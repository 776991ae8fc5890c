// The effect runner: feeds inputs to the engine and carries its effects out. Owned by server.cpp, used by the
// API handlers and the worker sessions; everything runs on the one I/O thread. The store's threads only post
// here.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <orchestrator/engine/engine.hpp>
#include <orchestrator/net/http.hpp>
#include <orchestrator/net/io.hpp>
#include <orchestrator/net/websocket.hpp>
#include <orchestrator/store/store.hpp>

#include "access_table.hpp"
#include "change_signal.hpp"
#include "metrics.hpp"

namespace orchestrator::server {

namespace asio = boost::asio;

class coordinator {
 public:
  coordinator(asio::io_context& io, const engine::config& settings, net::websocket_options websocket);

  /// Gives the engine its first input and starts the timers. Once, after the store was opened with events().
  /// `disk` is where the room is measured. What the engine cannot start with comes back; then nothing runs,
  /// and the store is closed.
  std::optional<engine::unusable_row> start(std::unique_ptr<store::store> store_ptr,
                                            orchestrator::snapshot snapshot, std::filesystem::path disk);
  /// What the store is to call: each posts to the I/O thread.
  store::store_events events();

  /// One request of a person: fills in its request id, steps, and waits for the one answer.
  template <class Request>
  asio::awaitable<engine::answer> ask(Request request) {
    request.request = request_id{++last_request_};
    engine::input in = std::move(request);
    return ask_input(std::move(in), request_id{last_request_});
  }

  /// Runs a query on a reader thread; its result is handed on only when everything it saw counts as released.
  template <class T>
  asio::awaitable<T> read(std::function<T(store::reader&)> query) {
    auto value = std::make_shared<T>();
    std::function<void(store::reader&)> fill = [value, query = std::move(query)](store::reader& r) {
      *value = query(r);
    };
    const std::uint64_t revision = co_await read_into(std::move(fill));
    co_await until_durable(revision);
    co_return std::move(*value);
  }

  /// Waits until every batch up to `number` is on disk.
  asio::awaitable<void> until_durable(std::uint64_t number);

  /// Raised with each durable change of this run; it lives as long as somebody holds it.
  std::shared_ptr<change_signal> run_changes(run_id id);
  /// Likewise for new facts, and for new output of any job.
  std::shared_ptr<change_signal> fact_changes() const { return facts_; }
  std::shared_ptr<change_signal> output_changes() const { return output_; }

  /// What Prometheus gets at this moment.
  std::string metrics_text();
  /// For the durations of requests.
  void note_answer(const net::http_answered& a) { metrics_.answered(a.method, a.pattern, a.status, a.took); }

  /// A worker's WebSocket was accepted; `from` is what its token says of it.
  void accept_worker(const std::shared_ptr<net::websocket>& socket, std::shared_ptr<const identity> from);

  const engine::engine_view& view() const { return engine_.view(); }
  store::store& disk() { return *store_; }
  bool ready() const {
    return store_ != nullptr && !stopping_ && view().space() != engine::space_level::full;
  }
  bool stopping() const { return stopping_; }
  /// No new work from here on; waiters are released.
  void stop();
  /// Commits what is queued and stops the store's threads.
  void close();

 private:
  struct worker_session {
    std::shared_ptr<net::websocket> socket;
    std::shared_ptr<const identity> from;
    std::vector<protocol::coordinator_message> outgoing;
    bool registered = false;
    bool batch = false;
    bool dirty = false;
  };

  asio::awaitable<engine::answer> ask_input(engine::input in, request_id id);
  asio::awaitable<std::uint64_t> read_into(std::function<void(store::reader&)> fill);

  void feed(const engine::input& in);
  void carry_out(engine::effects effects);
  void carry_out(engine::output& o);
  void look_up(engine::lookup& l);
  void notify(const engine::notify& n);
  void schedule_turn_end();
  void end_turn();
  void flush(worker_session& session);
  void arm_timer();
  asio::awaitable<void> watch_for_stalls();
  asio::awaitable<void> watch_space();
  asio::awaitable<void> watch_zones();
  void measure_space();
  void on_frame(session_id id, const std::string& frame);
  void hold_back(session_id id);
  void read_on();

  asio::io_context& io_;
  net::websocket_options websocket_options_;
  orchestrator::engine::engine engine_;
  metrics metrics_;
  std::unique_ptr<store::store> store_;
  std::filesystem::path disk_;
  asio::steady_timer timer_;
  std::optional<mono_time> armed_for_;
  mono_time last_pulse_{};
  bool stall_pending_ = false;
  bool turn_end_scheduled_ = false;
  bool stopping_ = false;
  std::uint64_t last_request_ = 0;
  std::uint64_t last_session_ = 0;
  std::unordered_map<request_id, asio::any_completion_handler<void(engine::answer)>> requests_;
  std::map<session_id, worker_session> sessions_;
  std::vector<session_id> dirty_sessions_;
  std::set<std::string> zones_;                          ///< that the core has asked for
  std::set<session_id> held_back_;                       ///< not read until the disk has caught up
  std::map<run_id, std::weak_ptr<change_signal>> runs_;  ///< those that are waited for
  std::size_t runs_swept_at_ = 64;
  std::shared_ptr<change_signal> facts_ = std::make_shared<change_signal>();
  std::shared_ptr<change_signal> output_ = std::make_shared<change_signal>();
  std::shared_ptr<change_signal> durable_ = std::make_shared<change_signal>();
};

}  // namespace orchestrator::server
