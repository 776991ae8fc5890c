// UUIDs keep their bits through text, sort by time, and carry the version and variant of RFC 9562.
#include <string>
#include <unordered_set>

#include <doctest/doctest.h>

#include <orchestrator/base/ids.hpp>
#include <orchestrator/base/random.hpp>

using namespace orchestrator;

TEST_CASE("the example of RFC 9562 comes out of its time and random bits") {
  // Appendix A.6: 2022-02-22T19:22:22Z
  const uuid id = make_uuid_v7(from_unix_ms(0x017f22e279b0), 0xcc3, 0x18c4dc0c0c07398f);
  CHECK(to_string(id) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
}

TEST_CASE("a UUID read from its own text is the same, in either case of letters") {
  random_source random{7};
  for (int i = 0; i < 1000; ++i) {
    const uuid id = make_uuid_v4(random.next(), random.next());
    std::string text = to_string(id);
    CHECK(parse_uuid(text) == id);
    for (char& c : text) c = static_cast<char>(c >= 'a' && c <= 'f' ? c - 'a' + 'A' : c);
    CHECK(parse_uuid(text) == id);
  }
}

TEST_CASE("text that is not a UUID is not read as one") {
  const std::string good = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
  REQUIRE(parse_uuid(good));
  CHECK_FALSE(parse_uuid(""));
  CHECK_FALSE(parse_uuid(good + "0"));
  CHECK_FALSE(parse_uuid(good.substr(1)));
  CHECK_FALSE(parse_uuid("{017f22e2-79b0-7cc3-98c4-dc0c0c07398}"));
  CHECK_FALSE(parse_uuid("017f22e279b0-7cc3-98c4-dc0c0c07398f-"));
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const char wrong : {'g', ' ', '\0', '/', ':', '@', '`', '\x80'}) {
      std::string text = good;
      text[i] = wrong;
      CHECK_FALSE(parse_uuid(text));
    }
  }
}

TEST_CASE("version 7 ids sort by time first and by their random bits second") {
  const wall_time now = from_unix_ms(1'700'000'000'000);
  const std::uint64_t most = ~std::uint64_t{0};
  CHECK(make_uuid_v7(now, most, most) < make_uuid_v7(now + milliseconds{1}, 0, 0));
  CHECK(make_uuid_v7(now, 1, 0) < make_uuid_v7(now, 2, 0));
  CHECK(make_uuid_v7(now, 1, most) < make_uuid_v7(now, 2, 0));
  CHECK(make_uuid_v7(now, 1, 5) < make_uuid_v7(now, 1, 6));
}

TEST_CASE("every id carries its version and variant, whatever the time and the random bits") {
  random_source random{11};
  for (const std::int64_t ms : {INT64_MIN, std::int64_t{-1}, std::int64_t{0}, INT64_MAX}) {
    const uuid id = make_uuid_v7(from_unix_ms(ms), random.next(), random.next());
    CHECK(to_string(id)[14] == '7');
    CHECK((id.bytes[8] & 0xc0) == 0x80);
  }
  const uuid id = make_uuid_v4(~std::uint64_t{0}, ~std::uint64_t{0});
  CHECK(to_string(id) == "ffffffff-ffff-4fff-bfff-ffffffffffff");
  CHECK_FALSE(id.is_nil());
  CHECK(uuid{}.is_nil());
}

TEST_CASE("ids can be keys of hash tables") {
  std::unordered_set<uuid> ids;
  std::unordered_set<lease_id> leases;
  random_source random{3};
  for (std::uint64_t i = 0; i < 1000; ++i) {
    ids.insert(make_uuid_v7(from_unix_ms(1), random.next(), random.next()));
    leases.insert(lease_id{i});
  }
  CHECK(ids.size() == 1000);
  CHECK(leases.size() == 1000);
  CHECK_FALSE(static_cast<bool>(lease_id{}));
}
