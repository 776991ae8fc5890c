// Who may call, and who did: tokens, sessions of browsers, and the audit trail. They lie in orchestrator.db
// beside the engine's rows and share its commits, but the engine knows nothing of them: the server's shell
// writes and reads them.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/time.hpp>

namespace orchestrator::store {

/// SHA-256 of a secret, which itself is stored nowhere.
using secret_hash = std::array<std::uint8_t, 32>;

struct stored_token {
  std::string id;  ///< part of the token's text, so that it is found without trying all
  std::string name;
  std::string role;
  std::string worker_id;  ///< the only worker it can register; empty: any
  secret_hash hash{};
  wall_time created_at{};
  std::optional<wall_time> expires_at, revoked_at;
  std::optional<wall_time> last_used_at;  ///< coarse
  bool operator==(const stored_token&) const = default;
};
struct delete_token {
  std::string id;
};

/// A browser that traded a token for a cookie. It ends with its token.
struct stored_session {
  std::string id;
  std::string token;  ///< the id of a token, or the name of a token file
  secret_hash hash{};
  wall_time created_at{};
  wall_time expires_at{};  ///< moved on, coarsely, while it is used
  bool remembered = false;
  bool operator==(const stored_session&) const = default;
};
struct delete_session {
  std::string id;
};

/// One request that changed something, or would have.
struct audit_entry {
  std::uint64_t id = 0;  ///< rises
  wall_time at{};
  std::string name, role;  ///< of the token; empty when none was known
  std::string address;
  std::string method, path;
  std::optional<int> status;  ///< of the answer; none: the server ended before there was one
  std::string made;           ///< where to find what was made, if anything
  std::uint64_t count = 1;    ///< refusals of one kind in one minute share an entry
  bool refused = false;       ///< for lack of rights: 401 or 403
  bool operator==(const audit_entry&) const = default;
};
/// Fills in what became of an entry; once.
struct audit_outcome {
  std::uint64_t id = 0;
  int status = 0;
  std::string made;
};

using access_change =
    std::variant<stored_token, delete_token, stored_session, delete_session, audit_entry, audit_outcome>;

struct audit_filter {
  std::optional<std::uint64_t> before;  ///< entries with a smaller id (older), newest first
  std::optional<wall_time> since;
  std::string name;
  bool refused_only = false;
  std::size_t limit = limits::page_default;
};

/// What a start finds.
struct access_snapshot {
  std::vector<stored_token> tokens;
  std::vector<stored_session> sessions;
  std::uint64_t last_audit_id = 0;
};

class access_records {
 public:
  virtual ~access_records() = default;
  enum class when {
    soon,       ///< in a commit of their own if there is no other
    with_next,  ///< with the next commit, whatever causes it
  };
  /// Queues rows, in order, for a commit no later than that of any batch handed over after them. `done` is
  /// called on the writer's thread when they are on disk; it may be empty.
  virtual void write(std::vector<access_change> rows, when w, std::function<void()> done) = 0;
  /// Rows that wait for a commit.
  virtual std::size_t waiting() const = 0;
  /// Hands over entries, newest first, on the reader's thread.
  virtual void read_audit(const audit_filter& filter, std::function<void(std::vector<audit_entry>)> take) = 0;
  /// Deletes what is older than `age` or beyond the newest `count`, in small steps between commits; refusals
  /// are counted apart, so that a flood of them pushes nothing else out.
  virtual void trim_audit(wall_time now, milliseconds age, std::uint64_t count) = 0;
};

}  // namespace orchestrator::store
