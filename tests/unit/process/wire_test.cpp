// The byte format between daemon and supervisor: what is written is read, and what is cut or strange is
// survived.
#include <doctest/doctest.h>

#include "process_limits.hpp"
#include "wire.hpp"

using namespace orchestrator;
using namespace orchestrator::process;

namespace {

std::string body_of(const std::string& bytes) {
  std::size_t position = 0;
  bool broken = false;
  const auto message = take_frame(bytes, position, broken);
  REQUIRE(message.has_value());
  CHECK(position == bytes.size());
  return message->body;
}

process_end sample_end() {
  process_end e;
  e.lease = 1ull << 63;
  e.exit_code = -1;
  e.signal = 15;
  e.timed_out = true;
  e.max_rss_bytes = 123'456'789'012;
  e.cpu_seconds = 1.25;
  e.duration_seconds = 0.001;
  e.error = "sentence";
  e.output_bytes = {{"stderr", 7}, {"stdout", 1ull << 40}};
  e.leaked_processes = 3;
  e.lease_lost = true;
  return e;
}

}  // namespace

TEST_CASE("a launch survives the wire") {
  launch what;
  what.lease = 42;
  what.argv = {"a", "", std::string("\0b", 2)};
  what.env = {{"K", "V"}, {"", "odd"}};
  what.cwd = "/x";
  what.stdin_text = "in";
  what.timeout = milliseconds{1234};
  what.kill_grace = milliseconds{5};
  what.output_limit = 99;
  what.lease_until = boot_time{seconds{77}};
  const auto read = decode_launch(body_of(encode_launch(what)));
  REQUIRE(read.has_value());
  CHECK(read->lease == 42);
  CHECK(read->argv == what.argv);
  CHECK(read->env == what.env);
  CHECK(read->cwd == "/x");
  CHECK(read->stdin_text == "in");
  CHECK(read->timeout == what.timeout);
  CHECK(read->kill_grace == what.kill_grace);
  CHECK(read->output_limit == 99);
  CHECK(read->lease_until == what.lease_until);
  what.lease_until.reset();
  CHECK_FALSE(decode_launch(body_of(encode_launch(what)))->lease_until.has_value());
  const auto renewed = decode_renewal(body_of(encode_renewal({42, boot_time{seconds{78}}})));
  REQUIRE(renewed.has_value());
  CHECK(renewed->lease == 42);
  CHECK(renewed->until == boot_time{seconds{78}});
}

TEST_CASE("an end survives the wire, alone and inside an inventory item") {
  const auto e = sample_end();
  supervised s;
  s.lease = e.lease;
  s.pid = 12;
  s.started_at = from_unix_ms(1'700'000'000'123);
  s.output_end = e.output_bytes;
  s.end = e;
  const auto item = decode_supervised(body_of(encode_supervised(s)));
  REQUIRE(item.has_value());
  REQUIRE(item->end.has_value());
  CHECK(item->started_at == s.started_at);
  CHECK(item->output_end == s.output_end);
  const auto alone = decode_end(body_of(encode_end(e)));
  REQUIRE(alone.has_value());
  for (const auto& read : {*alone, *item->end}) {
    CHECK(read.lease == e.lease);
    CHECK(read.exit_code == -1);
    CHECK(read.signal == 15);
    CHECK(read.timed_out);
    CHECK_FALSE(read.killed);
    CHECK(read.max_rss_bytes == e.max_rss_bytes);
    CHECK(read.cpu_seconds == 1.25);
    CHECK(read.error == "sentence");
    CHECK(read.output_bytes == e.output_bytes);
    CHECK(read.leaked_processes == 3);
  }
  s.end.reset();
  CHECK_FALSE(decode_supervised(body_of(encode_supervised(s)))->end.has_value());
}

TEST_CASE("frames are taken off a stream however it is cut") {
  const auto stream = encode_kill({1, milliseconds{2}}) + encode_lease(message_kind::forget, 3);
  std::string so_far;
  std::size_t position = 0;
  bool broken = false;
  int frames = 0;
  for (const char c : stream) {
    so_far += c;
    while (take_frame(so_far, position, broken)) ++frames;
  }
  CHECK(frames == 2);
  CHECK_FALSE(broken);
}

TEST_CASE("a length outside the limit breaks the stream") {
  std::size_t position = 0;
  bool broken = false;
  CHECK_FALSE(take_frame(std::string_view("\0\0\0\0\1", 5), position, broken).has_value());
  CHECK(broken);
  broken = false;
  CHECK_FALSE(take_frame("\xff\xff\xff\x7f", position, broken).has_value());
  CHECK(broken);
}

TEST_CASE("every cut of a message is either refused or reads as if its last fields were not there yet") {
  const auto whole = body_of(encode_end(sample_end()));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto read = decode_end(std::string_view(whole).substr(0, size));
    if (read) CHECK_FALSE(read->lease_lost);
  }
  launch what;
  what.argv = {"one", "two"};
  const auto body = body_of(encode_launch(what));
  for (std::size_t size = 0; size < body.size(); ++size)
    decode_launch(std::string_view(body).substr(0, size));
}

TEST_CASE("a count that lies allocates nothing") {
  frame_writer lie(message_kind::start);
  lie.number(1).number(~0ull);
  const auto read = decode_launch(body_of(std::move(lie).finish()));
  REQUIRE(read.has_value());
  CHECK(read->argv.empty());
}
