// Tokens, token files and sessions of browsers; see auth.hpp.
#include "auth.hpp"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/net/local_servers.hpp>
#include <orchestrator/server/server.hpp>
#include <orchestrator/telemetry/log.hpp>

#include "secrets.hpp"

namespace orchestrator::server {
namespace fs = std::filesystem;
namespace {

/// What ended stays in the list for people this long.
constexpr auto ended_kept = std::chrono::hours{24 * 30};

const store::secret_hash nobody{};

std::string_view after_scheme(const std::string* header, std::string_view scheme) {
  if (header == nullptr || header->size() <= scheme.size()) return {};
  for (std::size_t i = 0; i < scheme.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>((*header)[i])) != scheme[i]) return {};
  }
  return (*header)[scheme.size()] == ' ' ? std::string_view(*header).substr(scheme.size() + 1)
                                         : std::string_view{};
}

/// The third of the four parts of orc_ROLE_ID_SECRET; empty if it is not made so.
std::string id_in(std::string_view token) {
  std::vector<std::string_view> parts;
  for (std::size_t from = 0; from <= token.size() && parts.size() < 5;) {
    const std::size_t end = std::min(token.find('_', from), token.size());
    parts.push_back(token.substr(from, end - from));
    from = end + 1;
  }
  return parts.size() == 4 && parts[0] == "orc" ? std::string(parts[2]) : std::string{};
}

std::string cookie_in(const net::http_request& head, const std::string& name) {
  const std::string* header = head.header("cookie");
  std::string_view rest = header == nullptr ? std::string_view{} : std::string_view(*header);
  while (!rest.empty()) {
    std::string_view pair = rest.substr(0, rest.find(';'));
    rest.remove_prefix(std::min(pair.size() + 1, rest.size()));
    while (pair.starts_with(' ')) pair.remove_prefix(1);
    if (pair.starts_with(name) && pair.substr(name.size()).starts_with('='))
      return std::string(pair.substr(name.size() + 1));
  }
  return "";
}

bool has_ended(const store::stored_token& row, wall_time now) {
  return row.revoked_at || (row.expires_at && *row.expires_at <= now);
}

/// The holder knows the secret, so he may know what became of it.
refusal ended_refusal(const store::stored_token& row) {
  const std::string how = row.revoked_at ? fmt::format("was revoked at {}", to_rfc3339(*row.revoked_at))
                                         : fmt::format("expired at {}", to_rfc3339(*row.expires_at));
  return {errc::unauthorised, fmt::format("the token `{}` {}", row.name, how), "",
          fmt::format("whoever has an admin token can make another: orchestrator token create --role {}",
                      row.role)};
}

refusal no_token_for_api() {
  return {
      errc::unauthorised, "this request needs a valid token", "",
      "send `Authorization: Bearer TOKEN` with a token that `orchestrator token create` made, or with the "
      "content of admin.token in the server's data directory"};
}

refusal no_token_for_workers() {
  return {
      errc::unauthorised, "this worker has no valid token", "",
      "give the worker the content of worker.token in the server's data directory, or what `orchestrator "
      "token create --role worker` prints: ORCHESTRATOR_TOKEN_FILE, or ws://worker:TOKEN@host for a worker "
      "of the original protocol"};
}

refusal no_such_token(const std::string& token) {
  return {errc::not_found, fmt::format("there is no token `{}`", printable(token)), "",
          "`orchestrator token list` shows all; an active one is known by its name, others by their id"};
}

std::shared_ptr<const identity> everybody(role r) {
  auto who = std::make_shared<identity>();
  who->name = "everybody";
  who->role = r;
  return who;
}

}  // namespace

authenticator authenticator::off() { return {}; }

result<authenticator> authenticator::from_files(const fs::path& data_dir) {
  authenticator a;
  a.enabled_ = true;
  for (const role r : {role::admin, role::worker}) {
    const std::string kind = to_string(r);
    token_file file{data_dir / (kind + ".token"), r, "", ""};
    const auto secret = read_or_make_token_file(file.path, kind);
    if (!secret) return secret.error();
    a.take_file(file, look_of(file.path), *secret);
    a.files_.push_back(std::move(file));
  }
  return a;
}

void authenticator::adopt(store::access_snapshot found, store::access_records& records,
                          const std::string& cookie_suffix) {
  records_ = &records;
  cookie_suffix_ = cookie_suffix;
  for (store::stored_token& row : found.tokens) {
    std::string key = row.id;
    entries_[key] = {std::move(row), false};
  }
  for (store::stored_session& s : found.sessions) {
    std::string id = s.id;
    sessions_[id] = std::move(s);
  }
}

/// The file's former secret, if any, is worth nothing from here on.
void authenticator::take_file(token_file& file, const std::string& look, const std::string& secret) {
  file.look = look;
  if (!file.key.empty()) entries_.erase(file.key);
  file.key.clear();
  ++endings_;
  if (secret.empty()) return;
  entry e;
  e.is_file = true;
  e.row.id = e.row.name = file.path.filename().string();
  e.row.role = to_string(file.role);
  e.row.hash = hash_of(secret);
  e.row.created_at = read_wall_clock();
  file.key = key_of(e);
  entries_[file.key] = std::move(e);
}

std::string authenticator::key_of(const entry& e) const {
  return e.is_file ? e.row.id + "/" + hex_of(e.row.hash, 8) : e.row.id;
}

void authenticator::look_at_files() {
  for (token_file& file : files_) {
    // Looked at before it is read: what changes in between is seen the next time.
    const std::string look = look_of(file.path);
    if (look == file.look) continue;
    const auto secret = read_token_file(file.path);
    if (!secret) {
      telemetry::error("{}: it lets nobody in until that is mended ({})", secret.error().detail,
                       secret.error().hint);
      take_file(file, look, "");
      continue;
    }
    const auto known = entries_.find(file.key);
    if (known != entries_.end() && same_hash(known->second.row.hash, hash_of(*secret))) {
      file.look = look;
      continue;
    }
    telemetry::info("The token file {} was replaced: its former content lets nobody in any more",
                    file.path.string());
    take_file(file, look, *secret);
  }
}

// ---- who somebody is

/// Takes as long for a token that nobody has as for one whose secret is wrong.
const authenticator::entry* authenticator::match(std::string_view text) const {
  const store::secret_hash given = hash_of(text);
  const auto named = entries_.find(id_in(text));
  const bool is_row = named != entries_.end() && !named->second.is_file;
  const entry* found = nullptr;
  if (same_hash(given, is_row ? named->second.row.hash : nobody) && is_row) found = &named->second;
  for (const token_file& file : files_) {
    const auto of_file = entries_.find(file.key);
    const bool is_there = of_file != entries_.end();
    if (same_hash(given, is_there ? of_file->second.row.hash : nobody) && is_there) found = &of_file->second;
  }
  return found;
}

result<std::shared_ptr<const identity>> authenticator::identify(std::string_view text, wall_time now,
                                                                const refusal& nobody_known) {
  const entry* found = text.empty() ? nullptr : match(text);
  if (found == nullptr) return nobody_known;
  if (has_ended(found->row, now)) return ended_refusal(found->row);
  entry& e = entries_.at(key_of(*found));
  mark_use(e, now);
  auto who = std::make_shared<identity>();
  who->key = key_of(e);
  who->name = e.row.name;
  who->role = parse_role_word(e.row.role).value_or(role::read);
  who->worker_id = e.row.worker_id;
  who->expires_at = e.row.expires_at;
  return std::shared_ptr<const identity>(std::move(who));
}

result<std::shared_ptr<const identity>> authenticator::by_cookie(const net::http_request& head, wall_time now,
                                                                 const refusal& nobody_known) {
  const std::string value = cookie_in(head, cookie_name());
  const auto found = sessions_.find(value.substr(0, value.find('_')));
  const bool is_there = found != sessions_.end();
  const bool same = same_hash(hash_of(value), is_there ? found->second.hash : nobody);
  if (!is_there || !same || found->second.expires_at <= now) return nobody_known;
  store::stored_session& session = found->second;
  const auto token = entries_.find(session.token);
  if (token == entries_.end()) return nobody_known;
  if (has_ended(token->second.row, now)) return ended_refusal(token->second.row);
  mark_use(token->second, now);
  const wall_time until = now + (session.remembered ? milliseconds{limits::session_remembered}
                                                    : milliseconds{limits::session_idle});
  if (until - session.expires_at > milliseconds{limits::access_mark_interval}) {
    session.expires_at = until;
    if (records_ != nullptr) records_->write({session}, store::access_records::when::with_next, {});
  }
  auto who = std::make_shared<identity>();
  who->key = session.token;
  who->name = token->second.row.name;
  who->role = parse_role_word(token->second.row.role).value_or(role::read);
  who->session = session.id;
  who->csrf = hex_of(hash_of("csrf:" + value));
  who->expires_at = token->second.row.expires_at;
  return std::shared_ptr<const identity>(std::move(who));
}

result<std::shared_ptr<const identity>> authenticator::who_calls(const net::http_request& head,
                                                                 wall_time now) {
  if (!enabled_) return everybody(role::admin);
  const std::string* header = head.header("authorization");
  if (header == nullptr) return by_cookie(head, now, no_token_for_api());
  return identify(after_scheme(header, "bearer"), now, no_token_for_api());
}

result<std::shared_ptr<const identity>> authenticator::who_connects(const net::http_request& head,
                                                                    wall_time now) {
  if (!enabled_) return everybody(role::worker);
  const std::string* header = head.header("authorization");
  const std::string_view bearer = after_scheme(header, "bearer");
  if (!bearer.empty()) return identify(bearer, now, no_token_for_workers());
  const auto basic = base64_decode(after_scheme(header, "basic"));
  constexpr std::string_view user = "worker:";
  const bool is_worker = basic && basic->starts_with(user);
  auto who = identify(is_worker ? std::string_view(*basic).substr(user.size()) : std::string_view{}, now,
                      no_token_for_workers());
  // Basic is there for workers, so nobody else is told more than that it is no worker's.
  if (who && (*who)->role != role::worker) return no_token_for_workers();
  return who;
}

bool authenticator::is_in(const identity& who, wall_time now) const {
  if (!enabled_) return true;
  const auto token = entries_.find(who.key);
  if (token == entries_.end() || has_ended(token->second.row, now)) return false;
  if (who.session.empty()) return true;
  const auto session = sessions_.find(who.session);
  return session != sessions_.end() && session->second.expires_at > now;
}

std::optional<wall_time> authenticator::next_ending(wall_time now) const {
  std::optional<wall_time> next;
  const auto consider = [&](std::optional<wall_time> at) {
    if (at && *at > now && (!next || *at < *next)) next = at;
  };
  for (const auto& [key, e] : entries_) consider(e.row.expires_at);
  for (const auto& [id, s] : sessions_) consider(s.expires_at);
  return next;
}

/// Coarse, so that a busy client does not cost a write each time.
void authenticator::mark_use(entry& e, wall_time now) {
  if (e.row.last_used_at && now - *e.row.last_used_at < milliseconds{limits::access_mark_interval}) return;
  e.row.last_used_at = now;
  if (!e.is_file && records_ != nullptr) records_->write({e.row}, store::access_records::when::with_next, {});
}

// ---- making and ending

const authenticator::entry* authenticator::find(const std::string& token, wall_time now) const {
  const entry* found = nullptr;
  for (const auto& [key, e] : entries_) {
    if (e.row.id == token) return &e;
    if (e.row.name == token && !has_ended(e.row, now)) found = &e;
  }
  return found;
}

shown_token authenticator::show(const entry& e, wall_time now) const {
  const char* state = e.row.revoked_at ? "revoked" : has_ended(e.row, now) ? "expired" : "active";
  return {e.row, e.is_file, state};
}

std::optional<shown_token> authenticator::find_token(const std::string& token, wall_time now) const {
  const entry* found = find(token, now);
  return found == nullptr ? std::nullopt : std::optional(show(*found, now));
}

std::vector<shown_token> authenticator::tokens(wall_time now) const {
  std::vector<shown_token> out;
  for (const auto& [key, e] : entries_) out.push_back(show(e, now));
  std::sort(out.begin(), out.end(), [](const shown_token& a, const shown_token& b) {
    return std::tuple(!a.is_file, a.is_file ? wall_time{} : a.row.created_at, a.row.id) <
           std::tuple(!b.is_file, b.is_file ? wall_time{} : b.row.created_at, b.row.id);
  });
  return out;
}

/// Who ended first goes first.
void authenticator::make_room(wall_time now, std::vector<store::access_change>& rows) {
  const auto ended_at = [](const entry& e) {
    return e.row.revoked_at.value_or(e.row.expires_at.value_or(e.row.created_at));
  };
  while (entries_.size() >= limits::tokens) {
    auto oldest = entries_.end();
    for (auto i = entries_.begin(); i != entries_.end(); ++i) {
      if (i->second.is_file || !has_ended(i->second.row, now)) continue;
      if (oldest == entries_.end() || ended_at(i->second) < ended_at(oldest->second)) oldest = i;
    }
    if (oldest == entries_.end()) return;
    rows.push_back(store::delete_token{oldest->first});
    entries_.erase(oldest);
  }
}

result<authenticator::made_token> authenticator::make_token(const token_wish& wish, wall_time now,
                                                            std::vector<store::access_change>& rows) {
  if (!enabled_) {
    return refusal{errc::conflict, "with --auth=off nobody needs a token", "",
                   "start the server with --auth=token"};
  }
  if (find(wish.name, now) != nullptr) {
    return refusal{errc::conflict, fmt::format("there is an active token `{}` already", wish.name), "/name",
                   "choose another name, or revoke that one first"};
  }
  make_room(now, rows);
  if (entries_.size() >= limits::tokens) {
    return refusal{errc::limit, fmt::format("there are {} active tokens, and no more may be", limits::tokens),
                   "", "revoke those that nobody uses: `orchestrator token list` says when each was used"};
  }
  entry e;
  e.row.id = make_short_id();
  e.row.name = wish.name;
  e.row.role = to_string(wish.role);
  e.row.worker_id = wish.worker_id;
  e.row.created_at = now;
  e.row.expires_at = wish.expires_at;
  std::string secret = fmt::format("orc_{}_{}_{}", e.row.role, e.row.id, make_secret());
  e.row.hash = hash_of(secret);
  rows.push_back(e.row);
  ++endings_;  // it may be the next to end
  entry& kept = entries_[e.row.id] = std::move(e);
  return made_token{show(kept, now), std::move(secret)};
}

result<shown_token> authenticator::revoke(const std::string& token, wall_time now,
                                          std::vector<store::access_change>& rows) {
  const entry* found = find(token, now);
  if (found == nullptr) return no_such_token(token);
  if (found->is_file) {
    const auto file = std::find_if(files_.begin(), files_.end(),
                                   [&](const token_file& f) { return f.key == key_of(*found); });
    const auto secret = renew_token_file(file->path, to_string(file->role));
    if (!secret) return secret.error();
    take_file(*file, look_of(file->path), *secret);
    return show(entries_.at(file->key), now);
  }
  entry& e = entries_.at(found->row.id);
  if (!e.row.revoked_at) {
    e.row.revoked_at = now;
    ++endings_;
  }
  rows.push_back(e.row);
  return show(e, now);
}

// ---- sessions of browsers

/// Of one token only so many: nobody is to push out the sessions of others.
void authenticator::make_room_for_session(const std::string& token, std::vector<store::access_change>& rows) {
  std::size_t of_token = 0;
  for (const auto& [id, s] : sessions_) of_token += s.token == token ? 1 : 0;
  const bool own = of_token >= limits::browser_sessions_a_token;
  if (!own && sessions_.size() < limits::browser_sessions) return;
  auto soonest = sessions_.end();
  for (auto at = sessions_.begin(); at != sessions_.end(); ++at) {
    if (own && at->second.token != token) continue;
    if (soonest == sessions_.end() || at->second.expires_at < soonest->second.expires_at) soonest = at;
  }
  rows.push_back(store::delete_session{soonest->first});
  sessions_.erase(soonest);
  ++endings_;
}

std::string authenticator::begin_session(const identity& who, bool remember, bool secure, wall_time now,
                                         std::vector<store::access_change>& rows) {
  make_room_for_session(who.key, rows);
  store::stored_session s;
  s.id = make_short_id();
  const std::string value = s.id + "_" + make_secret();
  s.token = who.key;
  s.hash = hash_of(value);
  s.created_at = now;
  s.remembered = remember;
  s.expires_at =
      now + (remember ? milliseconds{limits::session_remembered} : milliseconds{limits::session_idle});
  rows.push_back(s);
  ++endings_;
  sessions_[s.id] = s;
  std::string cookie = fmt::format("{}={}; Path=/; HttpOnly; SameSite=Strict", cookie_name(), value);
  if (secure) cookie += "; Secure";
  if (remember) {
    const auto seconds_kept = std::chrono::duration_cast<std::chrono::seconds>(limits::session_remembered);
    cookie += fmt::format("; Max-Age={}", seconds_kept.count());
  }
  return cookie;
}

std::string authenticator::end_session(const identity& who, std::vector<store::access_change>& rows) {
  rows.push_back(store::delete_session{who.session});
  sessions_.erase(who.session);
  ++endings_;
  return fmt::format("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", cookie_name());
}

void authenticator::end_all_sessions(std::vector<store::access_change>& rows) {
  for (const auto& [id, s] : sessions_) rows.push_back(store::delete_session{id});
  sessions_.clear();
  ++endings_;
}

void authenticator::sweep(wall_time now, std::vector<store::access_change>& rows) {
  std::erase_if(entries_, [&](const auto& item) {
    const store::stored_token& row = item.second.row;
    const wall_time bound = now - ended_kept;
    const bool is_old =
        (row.revoked_at && *row.revoked_at < bound) || (row.expires_at && *row.expires_at < bound);
    if (is_old) rows.push_back(store::delete_token{item.first});
    return is_old;
  });
  std::erase_if(sessions_, [&](const auto& item) {
    const bool is_over = item.second.expires_at <= now || !entries_.contains(item.second.token);
    if (is_over) rows.push_back(store::delete_session{item.first});
    return is_over;
  });
}

fs::path default_data_dir() { return net::state_dir() / "server"; }

}  // namespace orchestrator::server
