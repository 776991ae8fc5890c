// Tokens: how they come to be and end, and who is who with which.
#include "auth.hpp"

#include <filesystem>
#include <fstream>
#include <map>

#include <sys/stat.h>
#include <unistd.h>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <orchestrator/base/text.hpp>
#include <orchestrator/net/local_servers.hpp>

using namespace orchestrator;
using namespace orchestrator::server;
namespace fs = std::filesystem;

namespace {

class data_dir {
 public:
  data_dir() {
    std::string pattern = (fs::temp_directory_path() / "orchestrator-auth-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~data_dir() { fs::remove_all(path); }
  std::string token(const char* kind) const { return net::first_line(path / (std::string(kind) + ".token")); }
  fs::path path;
};

net::http_request with(const std::string& authorization) {
  net::http_request r;
  if (!authorization.empty()) r.headers["authorization"] = authorization;
  return r;
}

net::http_request with_cookie(const std::string& set_cookie) {
  net::http_request r;
  r.headers["cookie"] = "other=1; " + set_cookie.substr(0, set_cookie.find(';'));
  return r;
}

/// Rows as the database would hold them.
class kept_rows final : public store::access_records {
 public:
  void write(std::vector<store::access_change> rows, when, std::function<void()>) override {
    for (const store::access_change& row : rows) take(row);
  }
  std::size_t waiting() const override { return 0; }
  void read_audit(const store::audit_filter&, std::function<void(std::vector<store::audit_entry>)>) override {
  }
  void trim_audit(wall_time, milliseconds, std::uint64_t) override {}

  void take(const store::access_change& row) {
    if (const auto* t = std::get_if<store::stored_token>(&row)) tokens[t->id] = *t, ++token_writes;
    if (const auto* t = std::get_if<store::delete_token>(&row)) tokens.erase(t->id);
    if (const auto* s = std::get_if<store::stored_session>(&row)) sessions[s->id] = *s, ++session_writes;
    if (const auto* s = std::get_if<store::delete_session>(&row)) sessions.erase(s->id);
  }
  store::access_snapshot snapshot() const {
    store::access_snapshot out;
    for (const auto& [id, t] : tokens) out.tokens.push_back(t);
    for (const auto& [id, s] : sessions) out.sessions.push_back(s);
    return out;
  }
  std::map<std::string, store::stored_token> tokens;
  std::map<std::string, store::stored_session> sessions;
  int token_writes = 0, session_writes = 0;
};

constexpr wall_time noon = from_unix_ms(1'760'000'000'000);

/// A server's worth of it: files, rows, and what a restart would make of them.
class world {
 public:
  world() { restart(); }
  void restart() {
    auto read = authenticator::from_files(dir.path);
    REQUIRE(read.has_value());
    auth.emplace(std::move(*read));
    auth->adopt(rows.snapshot(), rows, "1234abcd");
  }
  std::string make(const std::string& name, role r, std::optional<wall_time> expires = std::nullopt,
                   const std::string& worker = "") {
    std::vector<store::access_change> changes;
    const auto made = auth->make_token({name, r, worker, expires}, noon, changes);
    REQUIRE(made.has_value());
    keep(changes);
    return made->secret;
  }
  result<shown_token> revoke(const std::string& token, wall_time now = noon) {
    std::vector<store::access_change> changes;
    auto revoked = auth->revoke(token, now, changes);
    keep(changes);
    return revoked;
  }
  std::string log_in(const std::string& secret, bool remember = false, bool secure = false) {
    std::vector<store::access_change> changes;
    const auto who = auth->who_calls(with("Bearer " + secret), noon);
    REQUIRE(who.has_value());
    std::string cookie = auth->begin_session(**who, remember, secure, noon, changes);
    keep(changes);
    return cookie;
  }
  void keep(const std::vector<store::access_change>& changes) {
    for (const auto& row : changes) rows.take(row);
  }
  data_dir dir;
  kept_rows rows;
  std::optional<authenticator> auth;
};

}  // namespace

TEST_CASE("two tokens are made at the first start, for their owner's eyes only, and kept") {
  data_dir dir;
  std::ofstream(dir.path / "admin.token.new") << "or";  // a start that was killed while it wrote
  REQUIRE(authenticator::from_files(dir.path).has_value());
  const std::string admin = dir.token("admin"), worker = dir.token("worker");
  CHECK(admin.size() >= 32);
  CHECK(admin != worker);
  for (const char* name : {"admin.token", "worker.token"}) {
    struct stat info{};
    REQUIRE(::stat((dir.path / name).c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }
  REQUIRE(authenticator::from_files(dir.path).has_value());
  CHECK(dir.token("admin") == admin);
}

TEST_CASE("a token file that others can read, that is a link, or that is too short is refused") {
  data_dir dir;
  REQUIRE(authenticator::from_files(dir.path).has_value());
  const fs::path file = dir.path / "admin.token";
  ::chmod(file.c_str(), 0640);
  auto refused = authenticator::from_files(dir.path);
  REQUIRE(refused.has_error());
  CHECK(refused.error().detail.find("0600") != std::string::npos);
  fs::rename(file, dir.path / "elsewhere");
  ::chmod((dir.path / "elsewhere").c_str(), 0600);
  fs::create_symlink(dir.path / "elsewhere", file);
  refused = authenticator::from_files(dir.path);
  REQUIRE(refused.has_error());
  CHECK(refused.error().detail.find("not a regular file") != std::string::npos);
  fs::remove(file);
  std::ofstream(file) << "short\n";
  ::chmod(file.c_str(), 0600);
  refused = authenticator::from_files(dir.path);
  REQUIRE(refused.has_error());
  CHECK(refused.error().detail.find("32 characters") != std::string::npos);
}

TEST_CASE("the API knows the admin's file and every token by its text, as Bearer and in no other way") {
  world w;
  const std::string admin = w.dir.token("admin"), reader = w.make("looker", role::read);
  CHECK((*w.auth->who_calls(with("Bearer " + admin), noon))->role == role::admin);
  CHECK((*w.auth->who_calls(with("bearer " + reader), noon))->role == role::read);
  CHECK((*w.auth->who_calls(with("Bearer " + reader), noon))->name == "looker");
  CHECK((*w.auth->who_calls(with("Bearer " + w.dir.token("worker")), noon))->role == role::worker);
  std::string other_end = reader;
  other_end.back() = other_end.back() == '0' ? '1' : '0';
  for (const std::string& wrong :
       {std::string(), std::string("Bearer"), std::string("Bearer "), "Bearer  " + admin,
        "Bearer " + admin + "x", "Bearer " + admin.substr(1), "Bearer " + other_end, "Bearer " + reader + "_",
        std::string("Bearer orc_admin__"), "Bearer " + std::string(7000, 'x'),
        "Basic " + base64_encode("worker:" + admin), admin}) {
    CAPTURE(wrong.size());
    const auto who = w.auth->who_calls(with(wrong), noon);
    REQUIRE(who.has_error());
    CHECK(who.error().code == errc::unauthorised);
    CHECK(who.error().detail == "this request needs a valid token");
  }
}

TEST_CASE("the worker endpoint knows a worker's token as Bearer, or as the password of the user worker") {
  world w;
  const std::string admin = w.dir.token("admin"), worker = w.dir.token("worker");
  const std::string bound = w.make("one", role::worker, std::nullopt, "w-7");
  CHECK((*w.auth->who_connects(with("Bearer " + worker), noon))->role == role::worker);
  CHECK((*w.auth->who_connects(with("Basic " + base64_encode("worker:" + worker)), noon))->worker_id.empty());
  CHECK((*w.auth->who_connects(with("Basic " + base64_encode("worker:" + bound)), noon))->worker_id == "w-7");
  CHECK((*w.auth->who_connects(with("Bearer " + admin), noon))->role == role::admin);
  for (const std::string& wrong :
       {std::string(), "Basic " + base64_encode("admin:" + worker), "Basic " + base64_encode(worker),
        std::string("Basic ???"), "Basic " + base64_encode("worker:" + admin)}) {
    CAPTURE(wrong.size());
    const auto who = w.auth->who_connects(with(wrong), noon);
    REQUIRE(who.has_error());
    CHECK(who.error().code == errc::unauthorised);
  }
}

TEST_CASE("with authentication off everybody on loopback is let in, and nobody is given a token") {
  authenticator off = authenticator::off();
  CHECK((*off.who_calls(with(""), noon))->role == role::admin);
  CHECK((*off.who_connects(with(""), noon))->role == role::worker);
  std::vector<store::access_change> rows;
  CHECK(off.make_token({"a", role::read, "", std::nullopt}, noon, rows).error().code == errc::conflict);
}

TEST_CASE("a token's text is in no row, and a restart knows it all the same") {
  world w;
  const std::string secret = w.make("ci", role::operate, noon + std::chrono::hours{1});
  for (const auto& [id, row] : w.rows.tokens) {
    const std::string_view hash(reinterpret_cast<const char*>(row.hash.data()), row.hash.size());
    CHECK(secret.find(hash) == std::string::npos);
    CHECK(secret.find(id) != std::string::npos);
  }
  w.restart();
  CHECK((*w.auth->who_calls(with("Bearer " + secret), noon))->role == role::operate);
}

TEST_CASE("who holds a token that ended is told so, and is out at once") {
  world w;
  const std::string brief = w.make("brief", role::read, noon + std::chrono::hours{1});
  const std::string lost = w.make("lost", role::operate);
  const auto reader = *w.auth->who_calls(with("Bearer " + brief), noon);
  const auto operator_ = *w.auth->who_calls(with("Bearer " + lost), noon);
  CHECK(w.auth->next_ending(noon) == noon + std::chrono::hours{1});
  const wall_time later = noon + std::chrono::hours{1};
  CHECK(w.auth->is_in(*reader, later - milliseconds{1}));
  CHECK_FALSE(w.auth->is_in(*reader, later));
  CHECK(w.auth->who_calls(with("Bearer " + brief), later).error().detail.find("`brief` expired at") == 10);
  const std::uint64_t before = w.auth->endings();
  REQUIRE(w.revoke("lost").has_value());
  CHECK(w.auth->endings() > before);
  CHECK_FALSE(w.auth->is_in(*operator_, noon));
  CHECK(w.auth->who_calls(with("Bearer " + lost), noon).error().detail.find("was revoked at") !=
        std::string::npos);
  w.restart();
  CHECK(w.auth->who_calls(with("Bearer " + lost), noon).error().code == errc::unauthorised);
  CHECK(w.revoke("lost").error().code == errc::not_found);  // the name is free again
  w.make("lost", role::read);
  std::vector<store::access_change> rows;
  CHECK(w.auth->make_token({"lost", role::read, "", std::nullopt}, noon, rows).error().code ==
        errc::conflict);
}

TEST_CASE(
    "a token file that is revoked gets a new secret; one that is replaced or spoilt is taken as it is") {
  world w;
  const std::string first = w.dir.token("admin");
  const std::string cookie = w.log_in(first);
  const auto admin = *w.auth->who_calls(with("Bearer " + first), noon);
  REQUIRE(w.revoke("admin.token").has_value());
  const std::string second = w.dir.token("admin");
  CHECK(second != first);
  CHECK_FALSE(w.auth->is_in(*admin, noon));
  CHECK(w.auth->who_calls(with("Bearer " + first), noon).has_error());
  CHECK(w.auth->who_calls(with("Bearer " + second), noon).has_value());
  CHECK(w.auth->who_calls(with_cookie(cookie), noon).has_error());
  w.restart();
  CHECK(w.auth->who_calls(with_cookie(cookie), noon).has_error());

  const fs::path file = w.dir.path / "admin.token";
  const std::string third(40, 't');
  REQUIRE_FALSE(net::write_line(file, third));
  w.auth->look_at_files();
  CHECK(w.auth->who_calls(with("Bearer " + second), noon).has_error());
  CHECK(w.auth->who_calls(with("Bearer " + third), noon).has_value());
  ::chmod(file.c_str(), 0644);
  w.auth->look_at_files();
  CHECK(w.auth->who_calls(with("Bearer " + third), noon).has_error());
  ::chmod(file.c_str(), 0600);
  w.auth->look_at_files();
  CHECK(w.auth->who_calls(with("Bearer " + third), noon).has_value());
  fs::remove(file);
  w.auth->look_at_files();
  CHECK(w.auth->who_calls(with("Bearer " + third), noon).has_error());
  CHECK(w.auth->who_connects(with("Bearer " + w.dir.token("worker")), noon).has_value());
}

TEST_CASE("a use is stored no more often than every ten minutes") {
  world w;
  const std::string secret = w.make("busy", role::read);
  const int before = w.rows.token_writes;
  for (int i = 0; i < 1000; ++i)
    CHECK(w.auth->who_calls(with("Bearer " + secret), noon + std::chrono::seconds{i}).has_value());
  CHECK(w.rows.token_writes == before + 2);
  CHECK(w.auth->find_token("busy", noon)->row.last_used_at == noon + std::chrono::minutes{10});
}

TEST_CASE("the number of tokens is bounded; those that ended make room") {
  world w;
  const wall_time soon = noon + std::chrono::minutes{1};
  w.make("first-to-end", role::read, soon);
  for (std::size_t i = 3; i < limits::tokens; ++i) w.make(fmt::format("t{}", i), role::read);
  std::vector<store::access_change> rows;
  const token_wish wish{"one-more", role::read, "", std::nullopt};
  CHECK(w.auth->make_token(wish, noon, rows).error().code == errc::limit);
  CHECK(rows.empty());
  REQUIRE(w.auth->make_token(wish, soon, rows).has_value());
  CHECK(rows.size() == 2);
  CHECK_FALSE(w.auth->find_token("first-to-end", noon).has_value());
  CHECK(w.auth->tokens(noon).size() == limits::tokens);
  CHECK(w.auth->tokens(noon).front().row.id == "admin.token");
}

TEST_CASE(
    "a session has its token's role, a secret of its own, and ends with the token, by logout, or unused") {
  world w;
  const std::string secret = w.make("ada", role::operate);
  const std::string cookie = w.log_in(secret);
  CHECK(cookie.starts_with("orchestrator_1234abcd="));
  CHECK(cookie.find("; HttpOnly") != std::string::npos);
  CHECK(cookie.find("; SameSite=Strict") != std::string::npos);
  CHECK(cookie.find("Secure") == std::string::npos);
  CHECK(cookie.find("Max-Age") == std::string::npos);
  CHECK(cookie.find(secret) == std::string::npos);
  CHECK(w.log_in(secret, true, true).find("; Secure; Max-Age=2592000") != std::string::npos);
  const auto who = *w.auth->who_calls(with_cookie(cookie), noon);
  CHECK(who->role == role::operate);
  CHECK(who->csrf.size() == 64);
  CHECK(cookie.find(who->csrf) == std::string::npos);
  CHECK(w.auth->who_connects(with_cookie(cookie), noon).has_error());
  w.restart();
  CHECK(w.auth->who_calls(with_cookie(cookie), noon).has_value());
  CHECK(w.auth->who_calls(with_cookie("orchestrator_1234abcd=" + who->session + "_0"), noon).has_error());
  CHECK(w.auth->who_calls(with_cookie("orchestrator_1234abcd="), noon).has_error());
  // A token that is sent counts, whatever cookie is beside it.
  net::http_request both = with_cookie(cookie);
  both.headers["authorization"] = "Bearer nonsense";
  CHECK(w.auth->who_calls(both, noon).has_error());

  const int before = w.rows.session_writes;
  const auto hours = [](int n) { return std::chrono::hours{n}; };
  CHECK(w.auth->who_calls(with_cookie(cookie), noon + hours(11)).has_value());
  CHECK(w.auth->who_calls(with_cookie(cookie), noon + hours(11) + std::chrono::seconds{5}).has_value());
  CHECK(w.rows.session_writes == before + 1);
  CHECK(w.auth->who_calls(with_cookie(cookie), noon + hours(22)).has_value());
  CHECK(w.auth->who_calls(with_cookie(cookie), noon + hours(35)).has_error());
  CHECK_FALSE(w.auth->is_in(*who, noon + hours(35)));

  std::vector<store::access_change> rows;
  const std::string second = w.log_in(secret), third = w.log_in(secret);
  const auto leaving = *w.auth->who_calls(with_cookie(second), noon);
  CHECK(w.auth->end_session(*leaving, rows).find("Max-Age=0") != std::string::npos);
  CHECK_FALSE(w.auth->is_in(*leaving, noon));
  CHECK(w.auth->who_calls(with_cookie(second), noon).has_error());
  CHECK(w.auth->who_calls(with_cookie(third), noon).has_value());
  REQUIRE(w.revoke("ada").has_value());
  CHECK(w.auth->who_calls(with_cookie(third), noon).error().detail.find("revoked") != std::string::npos);
}

TEST_CASE("sessions are bounded, of one token and of all, and what ended is swept") {
  world w;
  const std::string kept = w.log_in(w.make("grace", role::admin));
  const std::string secret = w.make("ada", role::read);
  for (std::size_t i = 0; i < limits::browser_sessions_a_token + 5; ++i) w.log_in(secret);
  CHECK(w.rows.sessions.size() == limits::browser_sessions_a_token + 1);
  CHECK(w.auth->who_calls(with_cookie(kept), noon).has_value());  // nobody logs others out
  for (std::size_t n = 0; n < limits::browser_sessions / limits::browser_sessions_a_token; ++n) {
    const std::string another = w.make("reader-" + std::to_string(n), role::read);
    for (std::size_t i = 0; i < limits::browser_sessions_a_token; ++i) w.log_in(another);
  }
  CHECK(w.rows.sessions.size() == limits::browser_sessions);
  REQUIRE(w.revoke("ada").has_value());
  const std::size_t tokens = w.rows.tokens.size();
  std::vector<store::access_change> rows;
  w.auth->sweep(noon + std::chrono::hours{24 * 31}, rows);
  w.keep(rows);
  CHECK(w.rows.sessions.empty());
  CHECK(w.rows.tokens.size() == tokens - 1);
}
