// Entries of the audit trail on their way to the store; see audit.hpp.
#include "audit.hpp"

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <orchestrator/base/text.hpp>

namespace orchestrator::server {
namespace {

using when = store::access_records::when;

/// Starts what calls back on a thread of the store, and comes back on the I/O thread with what it gave.
template <class Value, class Start>
asio::awaitable<Value> await_store(Start start) {
  const auto executor = co_await asio::this_coro::executor;
  auto initiate = [executor](auto handler, Start begin) {
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    auto work = asio::make_work_guard(executor);
    begin([shared, work, executor](Value value) {
      asio::post(executor,
                 [shared, value = std::move(value)]() mutable { std::move (*shared)(std::move(value)); });
    });
  };
  Value value = co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Value)>(
      std::move(initiate), asio::use_awaitable, std::move(start));
  co_return value;
}

/// Without the port, which differs each time, and without the brackets around an address of IPv6.
std::string host_of(const std::string& peer) {
  std::string host = peer.substr(0, peer.rfind(':'));
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return host;
}

/// Somebody may name a token by its secret. What tells which one it was stays.
std::string without_secret(std::string path) {
  const std::size_t token = path.find("/orc_");
  if (token == std::string::npos) return path;
  const std::size_t end = std::min(path.find('/', token + 1), path.size());
  const std::size_t secret = path.rfind('_', end - 1) + 1;
  return path.replace(secret, end - secret, "...");
}

}  // namespace

void audit_trail::attach(store::access_records& records, std::uint64_t last_id) {
  records_ = &records;
  last_id_ = last_id;
}

store::audit_entry audit_trail::entry_of(const net::http_request& r, const identity* who, wall_time now) {
  store::audit_entry e;
  e.at = now;
  if (who != nullptr) {
    e.name = who->name;
    e.role = to_string(who->role);
  }
  e.address = host_of(r.peer_address);
  e.method = printable(r.method, 16);
  e.path = printable(without_secret(r.path), limits::audit_path_bytes);
  return e;
}

result<std::uint64_t> audit_trail::begin(const net::http_request& r, wall_time now) {
  // A token can be revoked, and a session ended, when others have filled what may wait.
  const bool ends_access = r.path.starts_with("/api/v1/tokens") || r.path.starts_with("/api/v1/session");
  if (records_->waiting() >= limits::audit_rows_waiting * (ends_access ? 2 : 1)) {
    return refusal{errc::unavailable,
                   "the disk is behind with the audit trail, and no change is made unrecorded", "",
                   "try again in a moment; the server's log and /readyz say whether the disk is full"};
  }
  store::audit_entry e = entry_of(r, static_cast<const identity*>(r.from.get()), now);
  e.id = ++last_id_;
  records_->write({std::move(e)}, when::with_next, {});
  return last_id_;
}

void audit_trail::end(std::uint64_t id, const net::http_response& answer) {
  store::audit_outcome o;
  o.id = id;
  o.status = answer.status;
  for (const auto& [name, value] : answer.headers) {
    if (name == "Location") o.made = printable(value, limits::audit_path_bytes);
  }
  records_->write({std::move(o)}, when::with_next, {});
}

void audit_trail::refused(const net::http_request& r, const identity* who, int status, wall_time now) {
  store::audit_entry e = entry_of(r, who, now);
  e.status = status;
  e.refused = true;
  kind which{e.address, e.name, status};
  // From so many places at once that they cannot be told apart any more.
  if (!refusals_.contains(which) && refusals_.size() >= limits::refusal_kinds) {
    e.address = "(many)";
    which = {e.address, "", status};
  }
  const auto [found, is_first] = refusals_.try_emplace(std::move(which));
  gathered& g = found->second;
  if (is_first) {
    g.since = now;
    e.id = ++last_id_;
    records_->write({std::move(e)}, when::with_next, {});
    return;
  }
  ++g.count;
  g.newest = std::move(e);
}

void audit_trail::flush(wall_time now, bool all) {
  for (auto i = refusals_.begin(); i != refusals_.end();) {
    gathered& g = i->second;
    if (!all && now - g.since < milliseconds{limits::refusals_gathered}) {
      ++i;
      continue;
    }
    if (g.count > 0) {
      g.newest.id = ++last_id_;
      g.newest.count = g.count;
      records_->write({std::move(g.newest)}, when::with_next, {});
    }
    i = refusals_.erase(i);
  }
  if (records_->waiting() > 0) records_->write({}, when::soon, {});
}

asio::awaitable<void> audit_trail::commit(std::vector<store::access_change> rows) {
  store::access_records* const records = records_;
  auto start = [records, rows = std::move(rows)](std::function<void(bool)> done) {
    records->write(rows, when::soon, [done = std::move(done)] { done(true); });
  };
  co_await await_store<bool>(std::move(start));
}

asio::awaitable<std::vector<store::audit_entry>> audit_trail::list(store::audit_filter filter) {
  co_await commit({});  // what just happened is in it
  store::access_records* const records = records_;
  auto start = [records, filter](std::function<void(std::vector<store::audit_entry>)> take) {
    records->read_audit(filter, std::move(take));
  };
  co_return co_await await_store<std::vector<store::audit_entry>>(std::move(start));
}

}  // namespace orchestrator::server
