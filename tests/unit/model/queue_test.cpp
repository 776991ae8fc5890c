// The texts in which people write rates, locks and amounts.
#include <doctest/doctest.h>

#include <orchestrator/model/queue.hpp>

using namespace orchestrator;
using namespace std::chrono_literals;

TEST_CASE("rates are read and written, and nonsense is not") {
  CHECK(parse_rate("10/m") == rate_limit{10, 60s});
  CHECK(parse_rate("1/6s") == rate_limit{1, 6s});
  CHECK(parse_rate("100/1h30m") == rate_limit{100, 90min});
  CHECK(format_rate({10, 60s}) == "10/1m");
  CHECK(parse_rate(format_rate({7, 1500ms})) == rate_limit{7, 1500ms});
  for (const char* bad :
       {"", "10", "/m", "10/", "0/m", "-1/m", "1/0s", "1.5/m", "10/m/s", "1/31d", "2000000/m", "x/m"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_rate(bad));
  }
}

TEST_CASE("a lock is asked for alone or with other readers") {
  CHECK(parse_lock("db") == lock_request{"db", false});
  CHECK(parse_lock("db:read") == lock_request{"db", true});
  CHECK(format_lock({"db", true}) == "db:read");
  for (const char* bad : {"", ":read", "db:", "db:write", "a b", "../x", "db:read:read"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_lock(bad));
  }
}

TEST_CASE("amounts are exact to a thousandth, and bytes may have units") {
  CHECK(parse_amount("2") == 2'000);
  CHECK(parse_amount("0.5") == 500);
  CHECK(parse_amount("0.125") == 125);
  CHECK(parse_amount("512MiB") == (std::int64_t{512} << 20) * 1'000);
  CHECK(parse_amount("1.5GB") == 1'500'000'000'000);
  CHECK(format_amount(2'000) == "2");
  CHECK(format_amount(1'250) == "1.25");
  CHECK(format_amount((std::int64_t{2} << 30) * 1'000) == "2GiB");
  for (const char* bad :
       {"", "0", "-1", "1.2345", "GiB", "1 GiB", "1e9", "nan", "99999999999999999999", "9999999TiB"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_amount(bad));
  }
}
