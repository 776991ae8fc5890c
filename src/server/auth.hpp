// Who somebody is. Tokens with a role are rows of the database (their hash, never their text); two more are
// files of mode 0600 in the data directory, made at the first start, by which the command line and the
// workers of the same user get in by themselves. A browser trades a token for a session. What an identity may
// do is access_table's; `gate` brings both together.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <orchestrator/base/result.hpp>
#include <orchestrator/net/http.hpp>
#include <orchestrator/store/access_records.hpp>

#include "access_table.hpp"

namespace orchestrator::server {

/// A token as people are told of it.
struct shown_token {
  store::stored_token row;
  bool is_file = false;  ///< then its id is the file's name
  std::string state;     ///< active, expired, revoked
};

struct token_wish {
  std::string name;
  server::role role = role::read;
  std::string worker_id;
  std::optional<wall_time> expires_at;
};

class authenticator {
 public:
  /// Everybody is let in; for loopback only, which server.cpp checks.
  static authenticator off();
  /// Reads `data_dir`/admin.token and worker.token, making those that are missing. A refusal names the file.
  static result<authenticator> from_files(const std::filesystem::path& data_dir);
  /// The tokens and sessions of the database. `cookie_suffix` tells this coordinator's cookie from those of
  /// others on the host, which a browser sends to all ports.
  void adopt(store::access_snapshot found, store::access_records& records, const std::string& cookie_suffix);

  /// Bearer, or the cookie of a session.
  result<std::shared_ptr<const identity>> who_calls(const net::http_request& head, wall_time now);
  /// For the worker link: Bearer, or Basic with user `worker`, as workers of the original protocol send it.
  result<std::shared_ptr<const identity>> who_connects(const net::http_request& head, wall_time now);
  /// Still let in: neither token nor session has ended.
  bool is_in(const identity& who, wall_time now) const;
  /// Counts what may change who is in, or when the next one is out.
  std::uint64_t endings() const { return endings_; }
  /// When the next token or session ends by itself.
  std::optional<wall_time> next_ending(wall_time now) const;

  struct made_token {
    shown_token shown;
    std::string secret;
  };
  /// The rows that make it durable are added to `rows`; likewise below.
  result<made_token> make_token(const token_wish& wish, wall_time now,
                                std::vector<store::access_change>& rows);
  /// By id, or by the name of one that is active. A file gets a new secret. What comes back is how it was.
  result<shown_token> revoke(const std::string& token, wall_time now,
                             std::vector<store::access_change>& rows);
  /// Oldest first, the files before all others.
  std::vector<shown_token> tokens(wall_time now) const;
  std::optional<shown_token> find_token(const std::string& token, wall_time now) const;

  /// The value of Set-Cookie.
  std::string begin_session(const identity& who, bool remember, bool secure, wall_time now,
                            std::vector<store::access_change>& rows);
  std::string end_session(const identity& who, std::vector<store::access_change>& rows);

  /// Sees whether the token files are as they were, and takes over what they are now. A file that is gone or
  /// cannot be used lets nobody in.
  void look_at_files();
  /// Forgets tokens that ended long ago, and sessions that ended.
  void sweep(wall_time now, std::vector<store::access_change>& rows);
  /// After a restore: whoever left since the backup is not to come back by it.
  void end_all_sessions(std::vector<store::access_change>& rows);

 private:
  struct entry {
    store::stored_token row;
    bool is_file = false;
  };
  struct token_file {
    std::filesystem::path path;
    server::role role;
    std::string look;  ///< when it was read last
    std::string key;   ///< of its entry; empty while it lets nobody in
  };

  const entry* match(std::string_view text) const;
  const entry* find(const std::string& token, wall_time now) const;
  shown_token show(const entry& e, wall_time now) const;
  result<std::shared_ptr<const identity>> identify(std::string_view text, wall_time now,
                                                   const refusal& nobody);
  result<std::shared_ptr<const identity>> by_cookie(const net::http_request& head, wall_time now,
                                                    const refusal& nobody);
  void take_file(token_file& file, const std::string& look, const std::string& secret);
  void mark_use(entry& e, wall_time now);
  void make_room(wall_time now, std::vector<store::access_change>& rows);
  void make_room_for_session(const std::string& token, std::vector<store::access_change>& rows);
  std::string key_of(const entry& e) const;
  std::string cookie_name() const { return "orchestrator_" + cookie_suffix_; }

  bool enabled_ = false;
  std::vector<token_file> files_;
  std::map<std::string, entry> entries_;  ///< by key: the id, of a file its name and the head of its hash
  std::map<std::string, store::stored_session> sessions_;
  store::access_records* records_ = nullptr;
  std::string cookie_suffix_;
  std::uint64_t endings_ = 0;
};

}  // namespace orchestrator::server
