// The storage sweep: each operation of each script on the real store is made to fail in each way, and after
// each the store is opened again and judged. The work is a process of its own, so that the store ends exactly
// as it does in service, by its exit code. The judge's store must not end, so it runs in its worker's
// process, and only where what is left differs from everything that was found good before.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <orchestrator/base/planted.hpp>

#include "fault_vfs.hpp"
#include "judge.hpp"
#include "scripts.hpp"

namespace orchestrator::sweep {
namespace {

namespace fs = std::filesystem;

constexpr int scripts_made = 12;
constexpr int wrong_exit = 98;
constexpr std::size_t message_bytes = 8192;
constexpr int most_jobs = 64;
constexpr std::size_t case_bytes = 160;

constexpr std::pair<defect, const char*> plants[] = {
    {defect::commit_error_passed_over, "commit_error_passed_over"},
    {defect::full_group_dropped, "full_group_dropped"},
    {defect::commit_not_synced, "commit_not_synced"},
    {defect::start_without_checks, "start_without_checks"},
};

struct options {
  std::uint64_t seed = 1;
  std::uint64_t count = 50'000;
  int jobs = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, most_jobs);
  std::string only, plant;
  bool plants = false;
};

/// Shared by all workers.
struct totals {
  std::atomic<std::uint64_t> sweeps, injected, stopped, refused, rows, known, unjudged, wrong;
  std::atomic<std::uint64_t> by[scripts_made][fault_kinds];
  char now[most_jobs][case_bytes];  ///< what each worker is at, in case it does not come back
};

/// Shared by a worker and its children.
struct stage {
  shared_disk disk;
  testimony said;
  char message[message_bytes];
};

template <class T>
T* shared_memory() {
  void* at = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) std::perror("mmap"), ::_exit(2);
  return static_cast<T*>(at);
}

stage* here = nullptr;  // the hooks of do_work are plain functions

template <class Body>
int in_child(Body body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    // The store says why it ends; here that is expected, and there are thousands of them.
    if (std::freopen("/dev/null", "w", stderr) == nullptr) ::_exit(2);
    int code = wrong_exit;
    try {
      code = body();
    } catch (const std::exception& e) {
      std::snprintf(here->message, message_bytes, "%s", e.what());
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string name_of(const script& s, const plan& p) {
  return s.name + ":" + to_string(p.kind) +
         (p.second ? (ends_the_process(p.kind) ? "+after" : "+sticky") : "") + "@" + to_string(p.target) +
         ":" + std::to_string(p.n);
}

/// Of every other error the machine has the power cut as well.
bool is_followed_by_a_cut(const plan& p) {
  return (p.kind == fault::eio || p.kind == fault::fsync_eio) && p.n % 2 == 1;
}

class worker {
 public:
  worker(const options& o, totals& sums, int number)
      : options_(o), sums_(sums), number_(number), stage_(shared_memory<stage>()) {
    const fs::path base = ::access("/dev/shm", W_OK) == 0 ? fs::path{"/dev/shm"} : fs::temp_directory_path();
    std::string pattern = (base / "orchestrator-sweep-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::perror("mkdtemp"), ::_exit(2);
    root_ = pattern;
    here = stage_;
    install(stage_->disk);
  }
  ~worker() {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }

  void run() {
    for (std::uint64_t round = 0; !enough(round); ++round) {
      int index = 0;
      for (const script& s : make_scripts(options_.seed + round)) {
        sweep_script(s, options_.seed + round, index++, round);
        if (enough(round)) return;
      }
    }
  }

 private:
  bool enough(std::uint64_t round) const {
    if (std::getenv("STOP")) return sums_.sweeps >= options_.count;
    if (!options_.plant.empty()) return sums_.wrong > 0 || sums_.sweeps >= options_.count;
    if (!options_.only.empty()) return round > 0;
    return round > 0 && sums_.sweeps >= options_.count;
  }

  void sweep_script(const script& s, std::uint64_t seed, int index, std::uint64_t round) {
    seed_ = seed;
    good_.clear();
    fs::remove_all(root_ / "template");
    fs::create_directory(root_ / "template");
    reset(stage_->disk, {});
    const int code =
        s.from_nothing ? 0 : in_child([&] { return prepare(s, root_ / "template" / "data"), 0; });
    if (code != 0) return fail(s, {}, "the work could not be prepared: " + std::string{stage_->message});
    const yardstick y = measure(s);
    run_case(s, y, {});  // nothing fails: counts what there is to fail
    const shared_disk& d = stage_->disk;
    std::array<std::array<std::uint32_t, halves>, fault_kinds> chances_of{};
    for (int f = 0; f < fault_kinds; ++f)
      for (int h = 0; h < halves; ++h)
        chances_of[f][h] = chances(d, static_cast<fault>(f), static_cast<half>(h));
    for (int f = 1; f < fault_kinds; ++f)
      for (int h = 0; h < halves; ++h)
        for (const bool second : {false, true})
          for (std::uint32_t n = 1; n <= chances_of[f][h]; ++n) {
            const plan p{static_cast<fault>(f), second, static_cast<half>(h), n};
            if (!mine(s, p)) continue;
            run_case(s, y, p);
            ++sums_.sweeps;
            ++sums_.by[index][f];
            if (enough(round)) return;
          }
  }

  bool mine(const script& s, const plan& p) {
    if (!options_.only.empty()) return number_ == 0 && name_of(s, p) == options_.only;
    return cases_++ % static_cast<std::uint64_t>(options_.jobs) == static_cast<std::uint64_t>(number_);
  }

  void run_case(const script& s, const yardstick& y, const plan& p) {
    std::snprintf(sums_.now[number_], case_bytes, "--seed %llu --only %s",
                  static_cast<unsigned long long>(seed_), name_of(s, p).c_str());
    const fs::path scene = root_ / "case";
    fs::remove_all(scene);
    fs::copy(root_ / "template", scene, fs::copy_options::recursive);
    reset(stage_->disk, p);
    if (!ends_the_process(p.kind) && !is_followed_by_a_cut(p)) forget(stage_->disk);
    stage_->said = {};
    stage_->said.acked = stage_->said.issued = y.base;
    stage_->said.term = s.from_nothing ? 0 : 1;
    const bool stay_full = s.what == deed::close;
    const int code = in_child([&] {
      return do_work(s, scene / "data", stage_->said,
                     {[] { arm(here->disk); }, [] {}, stay_full ? nullptr : +[] { heal(here->disk); },
                      [] { heal(here->disk); }});
    });
    stage_->disk.armed = false;
    sums_.injected += stage_->disk.fired ? 1 : 0;
    sums_.stopped += code == 74 ? 1 : 0;
    if (const auto complaint = judge_end(s, p, code)) return fail(s, p, *complaint);
    if (!judge_rest(s, y, p, scene / "data")) fail(s, p, stage_->message);
  }

  /// The exit-code rule: an error whose outcome is unknown ends the process with 74, a full disk does not.
  std::optional<std::string> judge_end(const script& s, const plan& p, int code) {
    const shared_disk& d = stage_->disk;
    std::string ended = "the work ended with " + std::to_string(code);
    if (code == wrong_exit) return ended + ": " + stage_->message;
    if (ends_the_process(p.kind)) return d.fired && code != crash_exit ? std::optional(ended) : std::nullopt;
    const bool at_start = s.what == deed::start;
    if (at_start && d.fired && (code == 73 || code == 74)) {
      ++sums_.refused;
      return std::nullopt;
    }
    const bool full = p.kind == fault::enospc || p.kind == fault::short_write;
    if (p.kind == fault::none || full) return code == 0 ? std::nullopt : std::optional(ended);
    if (code != 0 && code != 74) return ended;
    const bool must_stop = d.fired && d.hit_database && p.target != half::backup &&
                           (d.hit == operation::write || d.hit == operation::sync);
    if (must_stop && code != 74) return "it went on after a failed " + std::string{to_string(d.hit)};
    return std::nullopt;
  }

  bool judge_rest(const script& s, const yardstick& y, const plan& p, const fs::path& dir) {
    shared_disk& d = stage_->disk;
    if (p.kind == fault::kill) {
      // A start shows what the page cache has; then power goes, and that must not take back what was shown.
      if (in_child([&] { return judge(s, y, stage_->said, dir, true), 0; }) != 0) return false;
    }
    if (d.overflown) {
      ++sums_.unjudged;
      return true;
    }
    if (p.kind == fault::torn)
      cut_power(d, seed_ * 1'000'003 + p.n);
    else if (p.kind == fault::kill || p.kind == fault::cut || is_followed_by_a_cut(p))
      cut_power(d, std::nullopt);
    forget(d);
    // What is judged is what is there and what was told. Many faults leave the same, to the byte: that has
    // been judged then.
    const std::pair state{fingerprint(dir.parent_path()), stage_->said};
    const auto known = good_.find(state);
    if (known != good_.end()) {
      ++sums_.known;
      sums_.rows += known->second;
      return true;
    }
    try {
      const std::uint64_t rows = judge(s, y, stage_->said, dir, false);
      good_.emplace(state, rows);
      sums_.rows += rows;
    } catch (const std::exception& e) {
      std::snprintf(stage_->message, message_bytes, "%s", e.what());
      return false;
    }
    return true;
  }

  void fail(const script& s, const plan& p, const std::string& what) {
    if (++sums_.wrong > 10) return;
    std::printf("WRONG %s\n  again: storage_sweep --seed %llu --only %s%s%s\n  %s\n", name_of(s, p).c_str(),
                static_cast<unsigned long long>(seed_), name_of(s, p).c_str(),
                options_.plant.empty() ? "" : " --plant ", options_.plant.c_str(), what.c_str());
    std::fflush(stdout);
  }

  const options& options_;
  totals& sums_;
  int number_;
  stage* stage_;
  fs::path root_;
  std::uint64_t seed_ = 0, cases_ = 0;
  std::map<std::pair<std::uint64_t, testimony>, std::uint64_t> good_;  ///< of this script: its rows
};

void print_table(const totals& t, const std::vector<script>& scripts) {
  std::printf("%-12s", "script");
  for (int f = 1; f < fault_kinds; ++f) std::printf("%10s", to_string(static_cast<fault>(f)));
  std::printf("\n");
  for (std::size_t s = 0; s < scripts.size(); ++s) {
    std::printf("%-12s", scripts[s].name.c_str());
    for (int f = 1; f < fault_kinds; ++f)
      std::printf("%10llu", static_cast<unsigned long long>(t.by[s][f].load()));
    std::printf("\n");
  }
}

/// One sweep over everything, by as many workers as asked for. Returns how much was wrong.
std::uint64_t sweep(const options& o, bool quiet) {
  totals& sums = *new (shared_memory<totals>()) totals{};
  const auto began = std::chrono::steady_clock::now();
  std::fflush(nullptr);
  std::vector<pid_t> workers;
  for (int n = 0; n < o.jobs; ++n) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      if (quiet && std::freopen("/dev/null", "w", stdout) == nullptr) ::_exit(2);
      {
        worker(o, sums, n).run();
      }
      std::fflush(stdout);
      ::_exit(0);
    }
    workers.push_back(pid);
  }
  for (std::size_t n = 0; n < workers.size(); ++n) {
    int status = 0;
    ::waitpid(workers[n], &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    ++sums.wrong;
    std::printf("WRONG the store ended the judge (%d)\n  again: storage_sweep %s\n", status, sums.now[n]);
  }
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  const auto n = [](const std::atomic<std::uint64_t>& v) {
    return static_cast<unsigned long long>(v.load());
  };
  if (!o.plant.empty()) {
    std::printf("planted %-26s %s after %llu sweeps\n", o.plant.c_str(), sums.wrong > 0 ? "found" : "MISSED",
                n(sums.sweeps));
  } else {
    print_table(sums, make_scripts(o.seed));
    std::printf(
        "%llu sweeps in %.1f s, %llu faults injected, %llu ends with 74, %llu starts refused, %llu "
        "acknowledged rows checked, %llu left what others had left, %llu not judged, %llu wrong\n",
        n(sums.sweeps), took, n(sums.injected), n(sums.stopped), n(sums.refused), n(sums.rows), n(sums.known),
        n(sums.unjudged), n(sums.wrong));
  }
  return sums.wrong;
}

int find_plants(const options& o) {
  int missed = 0;
  for (const auto& [d, name] : plants) {
    if (!o.plants && o.plant != name) continue;
    planted_defect = d;
    options one = o;
    one.plant = name;
    missed += sweep(one, o.plants) == 0 ? 1 : 0;
  }
  planted_defect = defect::none;
  return missed;
}

int usage() {
  std::printf(
      "storage_sweep [--count N] [--seed N] [--jobs N] [--only CASE] [--plant NAME | --plants]\n"
      "  --count N   at least this many sweeps, and each script once (50000)\n"
      "  --only CASE one of them again, as a failure prints it\n"
      "  --plants    each planted defect of the store must be found within the count; none else is run\n");
  return 2;
}

}  // namespace

int run(int argc, char** argv) {
  options o;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool has_value = i + 1 < argc;
    if (word == "--plants")
      o.plants = true;
    else if (word == "--count" && has_value)
      o.count = std::stoull(argv[++i]);
    else if (word == "--seed" && has_value)
      o.seed = std::stoull(argv[++i]);
    else if (word == "--jobs" && has_value)
      o.jobs = std::clamp(std::stoi(argv[++i]), 1, most_jobs);
    else if (word == "--only" && has_value)
      o.only = argv[++i];
    else if (word == "--plant" && has_value)
      o.plant = argv[++i];
    else
      return usage();
  }
  if (o.plants || !o.plant.empty()) return find_plants(o) == 0 ? 0 : 1;
  return sweep(o, false) == 0 ? 0 : 1;
}

}  // namespace orchestrator::sweep

int main(int argc, char** argv) { return orchestrator::sweep::run(argc, argv); }
