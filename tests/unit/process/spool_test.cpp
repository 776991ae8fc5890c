// The spool's writer against a disk that refuses, and its names.
#include <doctest/doctest.h>

#include <sys/resource.h>

#include "spool.hpp"
#include "support/process_fixture.hpp"

using namespace orchestrator;
using namespace orchestrator::process;
using namespace orchestrator::process::testing;

namespace {

constexpr std::uint64_t mib = 1 << 20;

unique_fd open_spool(const work_dir& dir) {
  std::filesystem::create_directory(dir.path() / "spool");
  return unique_fd(::open((dir.path() / "spool").c_str(), O_RDONLY | O_DIRECTORY));
}

/// Makes the disk take no more than `bytes` per file while it lives.
class file_size_limit {
 public:
  explicit file_size_limit(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &original_);
    rlimit low = original_;
    low.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &low);
  }
  ~file_size_limit() {
    ::setrlimit(RLIMIT_FSIZE, &original_);
    ::signal(SIGXFSZ, SIG_DFL);
  }

 private:
  rlimit original_{};
};

}  // namespace

TEST_CASE("bytes that the disk refuses are counted and become a gap, and later ones are kept again") {
  work_dir dir;
  const auto spool = open_spool(dir);
  spool_writer writer(spool.get(), 1, "stdout", 10 * mib);
  {
    const file_size_limit limit(1000);
    writer.write(std::string(1500, 'a'));
    CHECK(writer.end() == 1500);
  }
  writer.write(std::string(500, 'b'));  // the rest of that segment is lost with it
  writer.write(std::string(mib, 'c'));
  writer.close();
  CHECK(writer.end() == mib + 2000);

  const auto first = read_spool(dir.path(), 1, "stdout", 0, 4 * mib);
  CHECK(first.offset == 0);
  CHECK((first.data == std::string(1000, 'a')));
  const auto second = read_spool(dir.path(), 1, "stdout", 1000, 4 * mib);
  CHECK(second.offset == mib);
  CHECK((second.data == std::string(2000, 'c')));
  writer.remove_all();
  CHECK(std::filesystem::is_empty(dir.path() / "spool"));
}

TEST_CASE("a spool folder that is gone costs the output, not the supervisor (J18)") {
  work_dir dir;
  const auto spool = open_spool(dir);
  std::filesystem::remove(dir.path() / "spool");
  spool_writer writer(spool.get(), 1, "stdout", 10 * mib);
  writer.write(std::string(3 * mib, 'a'));
  CHECK(writer.end() == 3 * mib);
  CHECK(read_spool(dir.path(), 1, "stdout", 0, 100).data.empty());
  writer.remove_all();
}

TEST_CASE("at no moment is more than the limit and one segment on disk") {
  work_dir dir;
  const auto spool = open_spool(dir);
  spool_writer writer(spool.get(), 1, "stderr", 3 * mib);
  for (int i = 0; i < 200; ++i) {
    writer.write(std::string(77'777, static_cast<char>('a' + i % 26)));
    std::uint64_t bytes = 0;
    for (const auto& file : std::filesystem::directory_iterator(dir.path() / "spool"))
      bytes += file.file_size();
    CHECK(bytes <= 4 * mib);
    const auto tail = read_spool(dir.path(), 1, "stderr", writer.end() - 77'777, 100'000);
    CHECK(tail.data.size() == 77'777);
  }
  writer.remove_all();
  CHECK(std::filesystem::is_empty(dir.path() / "spool"));
}

TEST_CASE("a reader that asks far inside the trimmed middle finds the tail") {
  work_dir dir;
  const auto spool = open_spool(dir);
  spool_writer writer(spool.get(), 1, "stdout", 3 * mib);
  for (int i = 0; i < 64; ++i) writer.write(std::string(mib, static_cast<char>('A' + i)));
  const auto read = read_spool(dir.path(), 1, "stdout", 2 * mib, 10);
  CHECK(read.offset == 63 * mib);
  CHECK(read.data == std::string(10, static_cast<char>('A' + 63)));
}

TEST_CASE("segment names are read back, and other files are none") {
  const auto name = parse_segment_name(to_text(18446744073709551615ull, "stdout", 7));
  REQUIRE(name.has_value());
  CHECK(name->lease == 18446744073709551615ull);
  CHECK(name->stream == "stdout");
  CHECK(name->index == 7);
  for (const char* other :
       {"", ".", "..", "1.stdout", "x.stdout.1", "1.stdout.x", "1.stdout.", "-1.stdout.0"}) {
    CHECK_FALSE(parse_segment_name(other).has_value());
  }
}
