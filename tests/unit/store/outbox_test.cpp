// The worker's outbox on real files: what lives through restarts, torn writes, damage and a change of
// cluster.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include <doctest/doctest.h>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/random.hpp>

#include "outbox_format.hpp"
#include "support/store_support.hpp"

#include <orchestrator/store/outbox.hpp>

using namespace orchestrator;
using namespace orchestrator::store;
using namespace orchestrator::store::testing;
namespace fs = std::filesystem;

namespace {

struct opened_outbox {
  std::unique_ptr<outbox> box;
  outbox_recovery recovery;
  std::string cluster;
};

opened_outbox open(const fs::path& dir) {
  opened_outbox result;
  auto opened = open_outbox(dir, result.cluster);
  if (!opened) FAIL(opened.error().message());
  result.box = std::move(opened->first);
  result.recovery = std::move(opened->second);
  return result;
}

outbox_record record(std::uint64_t lease, std::string kind, std::string body) {
  return {lease, std::move(kind), std::move(body)};
}

std::vector<fs::path> segments(const fs::path& dir, const std::string& folder = "no-cluster") {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(dir / "outbox" / folder))
    if (entry.path().filename().string().starts_with("segment-") && entry.path().extension().empty())
      found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

std::string bytes_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

}  // namespace

TEST_CASE("records come back in the order they were written, without those that were dropped") {
  const temporary_directory base;
  const std::vector<outbox_record> written{
      record(7, "execute", "a"), record(9, "execute", std::string("\0\n\xff", 3)), record(7, "output", ""),
      record(9, "result", std::string(100'000, 'r'))};
  {
    auto o = open(base.path());
    CHECK(o.cluster.empty());
    CHECK(o.recovery.records.empty());
    CHECK(o.recovery.highest_lease == 0);
    for (const auto& r : written) CHECK_FALSE(o.box->append(r));
    CHECK(o.box->bytes() > 100'000);
  }
  {
    auto o = open(base.path());
    CHECK(o.recovery.records == written);
    CHECK(o.recovery.highest_lease == 9);
    CHECK(o.recovery.torn_bytes == 0);
    CHECK_FALSE(o.box->drop(9));
    CHECK_FALSE(o.box->drop(9));
    CHECK_FALSE(o.box->drop(1234));
  }
  auto o = open(base.path());
  CHECK(o.recovery.records == std::vector<outbox_record>{written[0], written[2]});
  CHECK(o.recovery.highest_lease == 9);
}

TEST_CASE("a lease that is used again after its drop begins anew") {
  const temporary_directory base;
  {
    auto o = open(base.path());
    CHECK_FALSE(o.box->append(record(1, "a", "before")));
    CHECK_FALSE(o.box->drop(1));
    CHECK_FALSE(o.box->append(record(1, "b", "after")));
  }
  CHECK(open(base.path()).recovery.records == std::vector<outbox_record>{record(1, "b", "after")});
}

TEST_CASE("a write that was cut short at any byte costs that record only, and is reported") {
  const temporary_directory base;
  {
    auto o = open(base.path());
    CHECK_FALSE(o.box->append(record(1, "execute", "kept")));
  }
  const fs::path file = segments(base.path()).at(0);
  const std::string before = bytes_of(file);
  {
    auto o = open(base.path());
    CHECK_FALSE(o.box->append(record(2, "result", "the last record")));
  }
  const std::string whole = bytes_of(file);
  for (std::size_t size = before.size(); size <= whole.size(); ++size) {
    CAPTURE(size);
    write_file(file, whole.substr(0, size));
    {
      auto o = open(base.path());
      CHECK(o.recovery.records.size() == (size == whole.size() ? 2 : 1));
      CHECK(o.recovery.records[0] == record(1, "execute", "kept"));
      CHECK(o.recovery.torn_bytes == (size == whole.size() ? 0 : size - before.size()));
      CHECK(o.recovery.quarantined_bytes == 0);
      // Writing goes on where the whole records end.
      CHECK_FALSE(o.box->append(record(3, "result", "next")));
    }
    auto o = open(base.path());
    CHECK(o.recovery.records.back() == record(3, "result", "next"));
    CHECK(o.recovery.torn_bytes == 0);
    CHECK(o.recovery.highest_lease == 3);
  }
}

TEST_CASE("a segment cut short inside its header is replaced") {
  const temporary_directory base;
  {
    auto o = open(base.path());
  }
  const fs::path file = segments(base.path()).at(0);
  const std::string header = bytes_of(file);
  for (std::size_t size = 0; size < header.size(); ++size) {
    CAPTURE(size);
    write_file(file, header.substr(0, size));
    {
      auto o = open(base.path());
      CHECK(o.recovery.records.empty());
      CHECK(o.recovery.torn_bytes + o.recovery.quarantined_bytes == size);
      CHECK_FALSE(o.box->append(record(5, "a", "b")));
      CHECK(o.box->bytes() > 0);
    }
    CHECK(open(base.path()).recovery.records.size() == 1);
    for (const auto& s : segments(base.path())) fs::remove(s);
    {
      auto o = open(base.path());
    }
  }
}

TEST_CASE("damage in the middle sets the rest of that segment aside and is reported") {
  const temporary_directory base;
  {
    auto o = open(base.path());
    for (std::uint64_t n = 1; n <= 20; ++n)
      CHECK_FALSE(o.box->append(record(n, "k", "body " + std::to_string(n))));
  }
  const fs::path file = segments(base.path()).at(0);
  const std::string whole = bytes_of(file);
  const std::size_t header = outbox_format::decode_header(whole)->size;
  random_source random(3);
  for (int round = 0; round < 200; ++round) {
    fs::remove(file.string() + ".damaged");
    std::string bytes = whole;
    const std::size_t at = header + random.below(whole.size() - header);
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
    write_file(file, bytes);
    CAPTURE(at);
    auto o = open(base.path());
    const std::size_t kept = o.recovery.records.size();
    CHECK(kept < 20);
    for (std::size_t i = 0; i < kept; ++i) CHECK(o.recovery.records[i].lease == i + 1);
    CHECK(o.recovery.torn_bytes + o.recovery.quarantined_bytes > 0);
    if (kept < 19) {  // damage of the last record looks like a write cut short
      CHECK(o.recovery.torn_bytes == 0);
      CHECK(bytes_of(file.string() + ".damaged").size() == o.recovery.quarantined_bytes);
      CHECK(bytes_of(file) + bytes_of(file.string() + ".damaged") == bytes);
    }
  }
}

TEST_CASE("segments go when nothing in them lives, and the highest lease stays known") {
  const temporary_directory base;
  const std::string body(1024 * 1024, 'x');
  {
    auto o = open(base.path());
    // The first lease lives on; its record shares a segment with others.
    CHECK_FALSE(o.box->append(record(1, "execute", "long job")));
    for (std::uint64_t n = 2; n <= 60; ++n) {
      CHECK_FALSE(o.box->append(record(n, "execute", "e")));
      CHECK_FALSE(o.box->append(record(n, "result", body)));
      CHECK_FALSE(o.box->drop(n));
    }
    CHECK(segments(base.path()).size() <= 3);
    CHECK(o.box->bytes() < 3 * limits::outbox_segment);
  }
  {
    auto o = open(base.path());
    CHECK(o.recovery.records == std::vector<outbox_record>{record(1, "execute", "long job")});
    CHECK(o.recovery.highest_lease == 60);
    CHECK_FALSE(o.box->drop(1));
    for (int i = 0; i < 9; ++i) CHECK_FALSE(o.box->append(record(61, "output", body)));
    CHECK_FALSE(o.box->drop(61));
  }
  auto o = open(base.path());
  CHECK(o.recovery.records.empty());
  CHECK(o.recovery.highest_lease == 61);
  CHECK(segments(base.path()).size() == 1);
}

TEST_CASE("a lease that is used again keeps its new records when the tombstone of its old ones would move") {
  const temporary_directory base;
  const std::string body(1024 * 1024, 'x');
  const auto fill_segment = [&](outbox& box, std::uint64_t lease) {
    for (std::size_t n = 0; n < limits::outbox_segment / body.size(); ++n)
      CHECK_FALSE(box.append(record(lease, "output", body)));
  };
  const std::vector<outbox_record> expected{record(2, "execute", "lives on"), record(1, "b", "after")};
  {
    auto o = open(base.path());
    CHECK_FALSE(o.box->append(record(1, "a", "before")));
    CHECK_FALSE(o.box->append(expected[0]));  // keeps the first segment, and so the tombstone is needed
    fill_segment(*o.box, 3);
    CHECK_FALSE(o.box->drop(1));  // in the second segment
    fill_segment(*o.box, 4);
    CHECK_FALSE(o.box->append(expected[1]));  // in the third
    CHECK_FALSE(o.box->drop(4));              // the tombstone is all that the second segment is kept for
    CHECK_FALSE(o.box->drop(3));
  }
  CHECK(open(base.path()).recovery.records == expected);
  auto o = open(base.path());
  CHECK(o.recovery.records == expected);
  CHECK_FALSE(o.box->drop(1));
  CHECK_FALSE(o.box->drop(2));
  CHECK(segments(base.path()).size() == 1);
}

TEST_CASE("a random history is recovered as it was, whatever was dropped, over many restarts") {
  const temporary_directory base;
  random_source random(11);
  std::vector<outbox_record> expected;
  std::uint64_t highest = 0, next = 0;
  std::size_t most_segments = 0;
  for (int restart = 0; restart < 12; ++restart) {
    auto o = open(base.path());
    REQUIRE(o.recovery.records == expected);
    CHECK(o.recovery.highest_lease == highest);
    std::uint64_t on_disk = 0;
    for (const auto& s : segments(base.path())) on_disk += fs::file_size(s);
    CHECK(o.box->bytes() == on_disk);
    for (int i = 0; i < 150; ++i) {
      if (random.below(3) == 0 && !expected.empty()) {
        const std::uint64_t lease = expected[random.below(expected.size())].lease;
        CHECK_FALSE(o.box->drop(lease));
        std::erase_if(expected, [&](const outbox_record& r) { return r.lease == lease; });
        continue;
      }
      const std::uint64_t lease = random.below(4) == 0 || next == 0 ? ++next : 1 + random.below(next);
      highest = std::max(highest, lease);
      const auto r =
          record(lease, "k" + std::to_string(random.below(5)), std::string(random.below(200'000), 'b'));
      REQUIRE_FALSE(o.box->append(r));
      expected.push_back(r);
    }
    most_segments = std::max(most_segments, segments(base.path()).size());
  }
  CHECK(most_segments > 2);
}

TEST_CASE("each cluster has an outbox of its own and gets it back") {
  const temporary_directory base;
  const std::string one = "0b54a8a4-1b9a-4f1a-8f6a-1d2f3c4b5a69", two = "../Two/\n";
  {
    auto o = open(base.path());
    CHECK_FALSE(o.box->append(record(100, "k", "nobody's")));
    auto first = o.box->switch_cluster(one);
    REQUIRE(first.has_value());
    CHECK(first->records.empty());
    CHECK(first->highest_lease == 0);
    CHECK_FALSE(o.box->append(record(5, "k", "one's")));
    auto second = o.box->switch_cluster(two);
    REQUIRE(second.has_value());
    CHECK(second->records.empty());
    CHECK_FALSE(o.box->append(record(3, "k", "two's")));
    auto back = o.box->switch_cluster(one);
    REQUIRE(back.has_value());
    CHECK(back->records == std::vector<outbox_record>{record(5, "k", "one's")});
    CHECK(back->highest_lease == 5);
    CHECK(o.box->switch_cluster(two).has_value());
  }
  auto o = open(base.path());
  CHECK(o.cluster == two);
  CHECK(o.recovery.records == std::vector<outbox_record>{record(3, "k", "two's")});
  for (const auto& entry : fs::recursive_directory_iterator(base.path())) {
    struct ::stat status{};
    REQUIRE(::stat(entry.path().c_str(), &status) == 0);
    CHECK((status.st_mode & 0077) == 0);
  }
}

TEST_CASE("a segment of another cluster or a newer version is not read as ours") {
  const temporary_directory base;
  {
    auto o = open(base.path());
    CHECK_FALSE(o.box->append(record(1, "k", "b")));
  }
  const fs::path file = segments(base.path()).at(0);
  const std::string whole = bytes_of(file);
  const std::string rest = whole.substr(outbox_format::decode_header(whole)->size);
  SUBCASE("another cluster") {
    write_file(file, outbox_format::encode_header("another", 1) + rest);
    auto o = open(base.path());
    CHECK(o.recovery.records.empty());
    CHECK(o.recovery.quarantined_bytes > 0);
  }
  SUBCASE("a newer version") {
    std::string header = outbox_format::encode_header("", 1);
    header[8] = 2;
    const std::uint32_t crc = crc32c(std::string_view{header}.substr(0, header.size() - 4));
    for (std::size_t i = 0; i < 4; ++i)
      header[header.size() - 4 + i] = static_cast<char>(crc >> (8 * i) & 0xff);
    write_file(file, header + rest);
    std::string cluster;
    auto opened = open_outbox(base.path(), cluster);
    REQUIRE_FALSE(opened.has_value());
    CHECK(opened.error() == boost::system::errc::not_supported);
    CHECK(bytes_of(file) == header + rest);
  }
}

TEST_CASE("a write that fails leaves whole records only, and the outbox goes on when there is room") {
  const temporary_directory base;
  auto o = open(base.path());
  CHECK_FALSE(o.box->append(record(1, "k", "first")));
  const std::size_t before = o.box->bytes();

  // The limit on file sizes makes write(2) take a part of the record and then fail, as a full disk does.
  ::rlimit old{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
  const auto previous = ::signal(SIGXFSZ, SIG_IGN);
  ::rlimit tight = old;
  tight.rlim_cur = before + 100;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &tight) == 0);
  const auto error = o.box->append(record(2, "k", std::string(10'000, 'x')));
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &old) == 0);
  ::signal(SIGXFSZ, previous);

  CHECK(error);
  CHECK(o.box->bytes() == before);
  CHECK(fs::file_size(segments(base.path()).at(0)) == before);
  CHECK_FALSE(o.box->append(record(3, "k", "third")));
  auto again = open(base.path());
  CHECK(again.recovery.records ==
        std::vector<outbox_record>{record(1, "k", "first"), record(3, "k", "third")});
  CHECK(again.recovery.torn_bytes == 0);
}

TEST_CASE("a record that could not be read back is refused") {
  const temporary_directory base;
  auto o = open(base.path());
  CHECK(o.box->append(record(1, std::string(33, 'k'), "")) == boost::system::errc::invalid_argument);
  CHECK_FALSE(o.box->append(record(1, std::string(32, 'k'), "")));
}
