// The work on the real store, and the comparison of what is left with the store in memory; see judge.hpp.
#include "judge.hpp"

#include <unistd.h>
#include <algorithm>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include <orchestrator/base/text.hpp>
#include <orchestrator/store/maintenance.hpp>
#include <orchestrator/store/memory_store.hpp>

#include "open.hpp"

namespace orchestrator::sweep {
namespace {

namespace fs = std::filesystem;
using store::reader;

constexpr auto patience = std::chrono::seconds{20};
constexpr auto next_try = std::chrono::milliseconds{2};
constexpr auto unreported = std::chrono::milliseconds{50};
constexpr int small_checkpoint = 8;
/// The scripts' texts are fillings that nobody reads.
const store::text_judge any_text = [](auto, auto, auto) { return std::nullopt; };

// ---- everything a store says, as text
// -------------------------------------------------------------------------------

class text_of {
 public:
  template <class Value>
  text_of& operator<<(const Value& v) {
    if constexpr (std::is_convertible_v<Value, std::string>)
      text_ += v;
    else
      text_ += std::to_string(v);
    text_ += '|';
    return *this;
  }
  text_of& operator<<(const std::optional<wall_time>& t) { return *this << (t ? to_unix_ms(*t) : 0); }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

void add_run(text_of& out, const store::run_with_attempts& r) {
  out << "\nrun" << to_string(r.run.id) << to_string(r.run.state) << r.run.reason << r.run.attempts
      << r.run.failures << static_cast<int>(r.run.cancel_requested) << r.run.deciding_lease.value
      << r.run.instant << r.run.started_at << r.run.finished_at << r.spec_text.size();
  for (const attempt& a : r.attempts) {
    out << "\n attempt" << a.lease.value << to_string(a.state) << a.number << a.worker_id << a.started_at
        << a.finished_at << a.exit_code.value_or(-1) << a.result_crc;
    for (const auto& [stream, bytes] : a.output_bytes) out << stream << bytes;
  }
}

std::vector<store::run_with_attempts> all_runs(reader& r) {
  std::vector<store::run_with_attempts> all;
  store::run_filter filter;
  for (;;) {
    auto page = r.list_runs(filter);
    std::move(page.begin(), page.end(), std::back_inserter(all));
    if (page.size() < filter.limit) return all;
    filter.before = all.back().run.id;
  }
}

std::string rows_of(const snapshot& s, reader& r, bool (*ignored)(const run&)) {
  text_of out;
  out << s.last_number << s.lease_counter.value << s.spec_counter.value << s.runs.size() << s.attempts.size();
  for (const auto& one : all_runs(r))
    if (ignored == nullptr || !ignored(one.run)) add_run(out, one);
  for (const auto& j : r.list_jobs()) out << "\njob" << j.job.name << j.job.version << j.job.cursor << j.text;
  for (const auto& i : r.list_instants("nightly", std::nullopt, 100))
    out << "\ninstant" << to_unix_ms(i.instant) << static_cast<int>(i.outcome)
        << to_string(i.run.value_or(run_id{}));
  for (std::uint64_t after = 0; ignored == nullptr;) {
    const auto facts = r.list_facts(after, 500);
    for (const auto& f : facts) out << "\nfact" << f.sequence << f.batch << f.fact.type << f.fact.subject;
    if (facts.size() < 500) break;
    after = facts.back().sequence;
  }
  auto hashes = s.idempotency_hashes;
  std::sort(hashes.begin(), hashes.end());
  if (ignored != nullptr) hashes.clear();  // the keys of what may be gone may be gone
  for (const std::uint64_t h : hashes) out << "\nkey" << h;
  return out.take();
}

std::string outputs_of(reader& r, std::uint64_t leases) {
  text_of out;
  for (std::uint64_t lease = 1; lease <= leases; ++lease) {
    for (std::uint64_t at = 0;;) {
      const auto page = r.read_output(lease_id{lease}, "stdout", at, 1 << 20);
      if (page.data.empty()) break;
      out << lease << page.offset << page.data;
      at = page.offset + page.data.size();
    }
  }
  return out.take();
}

std::uint64_t leases_of(const script& s) {
  std::uint64_t most = 0;
  for (const auto* list : {&s.before, &s.work})
    for (const work_item& item : *list)
      for (const mutation& m : item.batch.mutations)
        if (const auto* a = std::get_if<put_attempt>(&m)) most = std::max(most, a->attempt.lease.value);
  return most;
}

bool (*ignored_by(const script& s))(const run&) { return s.what == deed::retention ? is_old : nullptr; }

[[noreturn]] void wrong(const std::string& what) { throw std::runtime_error(what); }

// ---- a store and what it reported
// -----------------------------------------------------------------------------------

class running_store {
 public:
  running_store(const fs::path& dir, const script& s, void (*full)()) : full_(full) {
    store::store_events events;
    events.persisted = [this](std::uint64_t n) { note(persisted_, n); };
    events.output_persisted = [this](std::uint64_t n) { note(output_, n); };
    events.space = [this](bool f) {
      if (f) make_room();
    };
    store::store_hooks hooks;
    hooks.main.retry_after = hooks.output.retry_after = next_try;
    if (s.what == deed::checkpoints)
      hooks.main.checkpoint_pages = hooks.output.checkpoint_pages = small_checkpoint;
    if (s.what == deed::group) hooks.main.hook = [this](sqlite3*) { pass_gate(); };
    auto opened = store::open_sqlite_store(dir, script_time, std::move(events), std::move(hooks));
    if (!opened) {
      refused_ = opened.error();
      return;
    }
    opened_ = std::move(*opened);
  }
  bool refused() const { return opened_.store_ptr == nullptr; }
  const store::open_failure& refusal() const { return refused_; }
  store::store& get() { return *opened_.store_ptr; }
  void make_room() {
    if (full_ != nullptr) full_();
  }
  const snapshot& found() const { return opened_.snapshot; }

  /// `told` is raised with each report, on the store's thread, so that it counts even if the process ends at
  /// the next instruction.
  void tell(std::uint64_t* told, std::uint64_t* output_told) {
    told_ = told;
    output_told_ = output_told;
  }
  void await(std::uint64_t n) { await(persisted_, n, "a commit"); }
  void await_output(std::uint64_t n) { await(output_, n, "output"); }
  template <class Query>
  void read(Query query) {
    bool done = false;
    std::exception_ptr failure;
    get().read([&](reader& r) {
      try {
        query(r);
      } catch (...) {
        failure = std::current_exception();
      }
      const std::lock_guard lock(mutex_);
      done = true;
      changed_.notify_all();
    });
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, patience, [&] { return done; })) wrong("a read did not come back");
    if (failure) std::rethrow_exception(failure);
  }
  /// The writer waits before its next transaction until open_gate().
  void close_gate() {
    const std::lock_guard lock(mutex_);
    gate_closed_ = true;
  }
  void await_writer_at_gate() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, patience, [&] { return waits_at_gate_; })) wrong("the writer did not begin");
  }
  void open_gate() {
    const std::lock_guard lock(mutex_);
    gate_closed_ = false;
    changed_.notify_all();
  }

 private:
  void note(std::uint64_t& which, std::uint64_t n) {
    const std::lock_guard lock(mutex_);
    which = n;
    std::uint64_t* told = &which == &persisted_ ? told_ : output_told_;
    if (told != nullptr) *told = n;
    changed_.notify_all();
  }
  void await(const std::uint64_t& which, std::uint64_t n, const char* what) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, patience, [&] { return which >= n; }))
      wrong(std::string{what} + " did not come through");
  }
  void pass_gate() {
    std::unique_lock lock(mutex_);
    waits_at_gate_ = gate_closed_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !gate_closed_; });
    waits_at_gate_ = false;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t persisted_ = 0, output_ = 0;
  std::uint64_t *told_ = nullptr, *output_told_ = nullptr;
  bool gate_closed_ = false, waits_at_gate_ = false;
  void (*full_)();
  store::open_failure refused_;
  store::opened_store opened_;  // ends first: its threads report to what is above
};

void commit(running_store& st, const work_item& item, std::uint64_t& outputs, testimony* t) {
  if (!item.output.empty()) {
    if (t != nullptr) t->output_issued = outputs + 1;
    st.get().commit_output({++outputs, item.output});
    st.await_output(outputs);
  }
  if (t != nullptr) t->issued = item.batch.number;
  st.get().commit(item.batch);
  st.await(item.batch.number);
}

void commit_group(running_store& st, const script& s, testimony& t) {
  st.close_gate();
  st.get().commit(s.work.front().batch);
  st.await_writer_at_gate();
  for (std::size_t i = 1; i < s.work.size(); ++i) st.get().commit(s.work[i].batch);
  t.issued = s.work.back().batch.number;
  st.open_gate();
  st.await(t.issued);
}

void delete_old(running_store& st) {
  // That there is no room to delete is not reported, since nobody waits for it: it is tried until there is
  // some.
  const auto begun = std::chrono::steady_clock::now();
  for (;;) {
    bool gone = false;
    st.get().retain(script_time, retain_age, 1'000'000);
    st.read([&](reader& r) {
      const auto runs = all_runs(r);
      gone = std::none_of(runs.begin(), runs.end(), [](const auto& one) { return is_old(one.run); });
    });
    if (gone) return;
    const auto waited = std::chrono::steady_clock::now() - begun;
    if (waited > unreported) st.make_room();
    if (waited > patience) wrong("retention did not delete what is old");
    std::this_thread::sleep_for(next_try);
  }
}

/// A run goes with its attempt, in one transaction.
void judge_half_deleted(running_store& st) {
  st.read([](reader& r) {
    for (const auto& one : all_runs(r))
      if (is_old(one.run) && one.attempts.size() != 1)
        wrong("an old run is half deleted: " + to_string(one.run.id));
  });
}

void make_backup(const script& s, const fs::path& dir, testimony& t) {
  t.backup_from = s.work[0].batch.number;
  t.backup_to = s.work[0].batch.number;
  const auto made = store::back_up(dir, dir.parent_path() / "backup", script_time, any_text);
  t.backup_done = made.has_value();
  if (!made && fs::exists(dir.parent_path() / "backup.partial"))
    wrong("a failed backup left its files behind");
}

void judge_backup(const script& s, const testimony& t, const fs::path& dir) {
  const fs::path backup = dir.parent_path() / "backup";
  if (!t.backup_done && !fs::exists(backup)) return;
  if (t.backup_done && !fs::exists(backup)) wrong("a backup that was reported is not there");
  const auto findings = store::check_data_dir(backup, any_text);
  if (!findings) wrong("the backup cannot be used: " + findings.error().message);
  for (const auto& f : *findings)
    if (!f.ok()) wrong("the backup: " + f.id + " " + f.title + ": " + f.offenders.front());
  const fs::path data = dir.parent_path() / "from-backup";
  const auto restored = store::restore(backup, data, false, script_time, any_text);
  if (!restored) wrong("the backup cannot be restored: " + restored.error().message);
  running_store st(data, s, nullptr);
  if (st.refused()) wrong("the restored backup cannot be opened: " + st.refusal().message);
  if (st.found().last_number < t.backup_from || st.found().last_number > t.backup_to)
    wrong("the backup is of another time");
}

/// What `server check` says depends on the bytes of the two databases alone, and most faults of one script
/// leave one of a few pairs of files: bytes that have passed are not checked again.
void check(const fs::path& dir) {
  static std::set<std::uint64_t> passed;
  const std::uint64_t bytes = fingerprint(dir);
  if (passed.contains(bytes)) return;
  const auto findings = store::check_data_dir(dir, any_text);
  if (!findings) wrong("the check cannot read it: " + findings.error().message);
  for (const auto& f : *findings)
    if (!f.ok()) wrong(f.id + " " + f.title + ": " + f.offenders.front());
  passed.insert(bytes);
}

}  // namespace

std::uint64_t fingerprint(const fs::path& dir) {
  std::map<std::string, std::string> files;  // by name, since a directory has no order
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    std::string& bytes = files[entry.path().lexically_relative(dir).string()];
    if (!entry.is_regular_file() || entry.path().filename() == "lock") continue;
    bytes.resize(entry.file_size());
    std::ifstream(entry.path(), std::ios::binary)
        .read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  std::uint64_t sum = files.size();
  for (const auto& [name, bytes] : files) {
    for (const std::string* text : {&name, &bytes})
      sum = (sum ^ std::hash<std::string>{}(*text)) * 0x9e3779b97f4a7c15U + (sum >> 32);
  }
  return sum;
}

yardstick measure(const script& s) {
  yardstick y;
  store::memory_store m{store::store_events{}};
  snapshot found = m.reopen(script_time);
  std::uint64_t outputs = 0, mutations = 0;
  const std::uint64_t leases = leases_of(s);
  const auto remember = [&](std::uint64_t number) {
    m.read([&](reader& r) {
      // The snapshot of the store in memory counts its start; the batches are what matters.
      y.rows[number] = rows_of(m.reopen(script_time), r, ignored_by(s));
    });
    y.mutations[number] = mutations;
  };
  const auto apply = [&](const work_item& item) {
    if (!item.output.empty()) {
      m.commit_output({++outputs, item.output});
      m.sync_output();
    }
    m.commit(item.batch);
    m.sync();
    mutations += item.batch.mutations.size();
  };
  const auto remember_outputs = [&](std::uint64_t count) {
    m.read([&](reader& r) { y.outputs[count] = outputs_of(r, leases); });
  };
  for (const work_item& item : s.before) apply(item);
  y.base = s.before.empty() ? 0 : s.before.back().batch.number;
  remember(y.base);
  outputs = 0;
  remember_outputs(0);
  for (std::size_t i = 0; i < s.work.size(); ++i) {
    if (!s.work[i].output.empty()) outputs = 0;
    apply(s.work[i]);
    if (!s.work[i].output.empty()) remember_outputs(y.outputs.size());
    const bool inside_group = s.what == deed::group && i > 0 && i + 1 < s.work.size();
    if (!inside_group) remember(s.work[i].batch.number);
  }
  return y;
}

void prepare(const script& s, const fs::path& dir) {
  running_store st(dir, s, nullptr);
  if (st.refused()) wrong(st.refusal().message);
  std::uint64_t outputs = 0;
  for (const work_item& item : s.before) commit(st, item, outputs, nullptr);
  if (s.killed_before) ::_exit(0);
}

int do_work(const script& s, const fs::path& dir, testimony& t, const work_hooks& hooks) {
  if (s.what == deed::start) hooks.begin();
  running_store st(dir, s, hooks.full);
  if (st.refused()) return st.refusal().exit_code;
  st.tell(&t.acked, &t.output_acked);
  t.term = st.found().term;
  t.acked = t.issued = st.found().last_number;
  if (s.what != deed::close && s.what != deed::start) hooks.begin();
  hooks.open();
  if (s.what == deed::group) {
    commit_group(st, s, t);
  } else {
    if (s.what == deed::retention) delete_old(st);
    std::uint64_t outputs = 0;
    for (std::size_t i = 0; i < s.work.size(); ++i) {
      commit(st, s.work[i], outputs, &t);
      if (s.what == deed::backup && i == 0) make_backup(s, dir, t);
    }
  }
  if (s.what == deed::close)
    hooks.begin();
  else
    hooks.before_close();
  return 0;
}

std::uint64_t judge(const script& s, const yardstick& y, testimony& t, const fs::path& dir,
                    bool end_without_close) {
  {
    running_store st(dir, s, nullptr);
    if (st.refused())
      wrong("the store is refused (exit " + std::to_string(st.refusal().exit_code) +
            "): " + st.refusal().message);
    const snapshot& found = st.found();
    const std::uint64_t last = found.last_number;
    if (last < std::max(t.acked, t.shown))
      wrong("batch " + std::to_string(std::max(t.acked, t.shown)) + " was " +
            (t.acked > t.shown ? "acknowledged" : "shown") + ", but the last one stored is " +
            std::to_string(last));
    if (last > std::max(t.issued, y.base)) wrong("a batch is stored that was never issued");
    if (found.term <= t.term) wrong("the term " + std::to_string(found.term) + " was used before");
    const auto expected = y.rows.find(last);
    if (expected == y.rows.end()) wrong("a part of a group is stored: up to batch " + std::to_string(last));
    std::string rows, outputs;
    const std::uint64_t leases = leases_of(s);
    st.read([&](reader& r) {
      rows = rows_of(found, r, ignored_by(s));
      outputs = outputs_of(r, leases);
    });
    if (s.what == deed::retention) judge_half_deleted(st);
    if (rows != expected->second)
      wrong("after batch " + std::to_string(last) + " the rows differ; wanted:\n" + expected->second +
            "\nfound:\n" + rows);
    if (s.what != deed::retention) {
      bool known = false;
      for (std::uint64_t n = t.output_acked; n <= std::max(t.output_issued, t.output_acked); ++n)
        known = known || (y.outputs.contains(n) && y.outputs.at(n) == outputs);
      if (!known)
        wrong("stored output is not what was acknowledged (" + std::to_string(t.output_acked) + ")");
    }
    t.shown = last;
    t.term = found.term;
    if (end_without_close) ::_exit(0);
    work_item next = s.after;
    next.batch.number = last + 1;
    std::uint64_t none = 0;
    commit(st, next, none, nullptr);
  }
  check(dir);
  if (s.what == deed::backup) judge_backup(s, t, dir);
  const auto had = y.mutations.upper_bound(t.acked);
  return had == y.mutations.begin() ? 0 : std::prev(had)->second;
}

}  // namespace orchestrator::sweep
