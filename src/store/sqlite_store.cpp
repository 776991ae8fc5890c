// The store over SQLite: two writer threads and a reader thread around the databases of one data directory.
#include <orchestrator/store/sqlite_store.hpp>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "main_writer.hpp"
#include "open.hpp"
#include "output_writer.hpp"
#include "sqlite_reader.hpp"

namespace orchestrator::store {
namespace {

constexpr int reader_cache_kib = 4 * 1024;

/// Runs queries one after the other, each in a read transaction of its own.
class reader_thread {
 public:
  explicit reader_thread(sqlite_reader connected)
      : reader_(std::move(connected)), thread_([this] { loop(); }) {}
  ~reader_thread() { stop(); }

  void read(std::function<void(sqlite_reader&)> query) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(query));
    }
    wake_.notify_one();
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void loop() {
    for (;;) {
      std::function<void(sqlite_reader&)> query;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        if (stopping_) return;
        query = std::move(queue_.front());
        queue_.pop_front();
      }
      try {
        reader_.begin();
        query(reader_);
        reader_.end();
      } catch (const SQLite::Exception& e) {
        // The caller waits for rows that cannot be had; going on would leave it waiting for ever.
        fail_stop("reading", e.what());
      }
    }
  }

  sqlite_reader reader_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void(sqlite_reader&)>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

connection open_reader(const std::filesystem::path& file) {
  connection db(file, access::read_only);
  configure_reader(db, reader_cache_kib);
  return db;
}

/// SQLite's count of its own memory costs a lock for each allocation, and nobody reads it. It can be switched
/// off only before the first database of the process is opened.
void skip_memory_statistics() {
  [[maybe_unused]] static const int once = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

struct locked_databases {
  owned_fd lock;
  opened_databases databases;
};

locked_databases lock_and_open(const std::filesystem::path& dir, wall_time now, bool accept_lost_output) {
  prepare_data_dir(dir);
  owned_fd lock = lock_data_dir(dir);
  return {std::move(lock), open_databases(dir, now, accept_lost_output)};
}

/// A server that ended on a full disk must be able to start on it.
locked_databases open_or_give_way(const std::filesystem::path& dir, wall_time now, bool accept_lost_output) {
  try {
    return lock_and_open(dir, now, accept_lost_output);
  } catch (const open_error& e) {
    const bool may_be_room = e.failure.exit_code == 73 || e.failure.exit_code == 74;
    if (!may_be_room || !ballast(dir).release()) throw;
  }
  return lock_and_open(dir, now, accept_lost_output);
}

class sqlite_store final : public store, public access_records {
 public:
  sqlite_store(owned_fd lock, const std::filesystem::path& dir, opened_databases databases,
               store_events events, store_hooks hooks)
      : lock_(std::move(lock)),
        ballast_(dir),
        space_(std::move(events.space), ballast_),
        main_(std::move(databases.main), space_, std::move(hooks.main),
              {std::move(events.persisted),
               [this](std::vector<lease_id> leases) { output_.drop(std::move(leases)); }}),
        output_(std::move(databases.output), space_, std::move(hooks.output),
                {std::move(events.output_persisted),
                 [this](std::vector<lease_id> leases) { main_.output_dropped(std::move(leases)); }}),
        reader_(sqlite_reader(open_reader(dir / main_file), open_reader(dir / output_file))) {
    output_.drop(std::move(databases.output_to_drop));
    main_.start();
    output_.start();
  }
  ~sqlite_store() override { sqlite_store::close(); }

  void commit(mutation_batch batch) override { main_.commit(std::move(batch)); }
  void commit_output(output_batch batch) override { output_.commit(std::move(batch)); }
  void read(std::function<void(reader&)> query) override { reader_.read(std::move(query)); }
  std::size_t queued_bytes() const override { return main_.queued_bytes() + output_.queued_bytes(); }
  void retain(wall_time now, milliseconds age, std::uint64_t count) override {
    main_.retain({now, age, count});
  }

  void hold_ballast(std::uint64_t bytes) override {
    // On the reader's thread: where blocks cannot be reserved, writing them takes a while.
    reader_.read([this, bytes](reader&) { ballast_.hold(bytes); });
  }

  void write(std::vector<access_change> rows, when w, std::function<void()> done) override {
    main_.write(std::move(rows), w, std::move(done));
  }
  std::size_t waiting() const override { return main_.waiting_rows(); }
  void read_audit(const audit_filter& filter, std::function<void(std::vector<audit_entry>)> take) override {
    reader_.read([filter, take = std::move(take)](sqlite_reader& r) { take(r.audit(filter)); });
  }
  void trim_audit(wall_time now, milliseconds age, std::uint64_t count) override {
    main_.trim({now - age, count});
  }

  void close() override {
    main_.write({}, when::soon, {});  // what would have gone with the next commit
    // Readers first: the last checkpoint then finds nobody inside.
    reader_.stop();
    main_.stop();
    output_.stop();
  }

 private:
  owned_fd lock_;  // goes last, after the connections
  ballast ballast_;
  space_signal space_;
  main_writer main_;
  output_writer output_;
  reader_thread reader_;
};

}  // namespace

boost::system::result<opened_store, open_failure> open_sqlite_store(const std::filesystem::path& dir,
                                                                    wall_time now, store_events events,
                                                                    store_hooks hooks) {
  skip_memory_statistics();
  try {
    auto [lock, databases] = open_or_give_way(dir, now, hooks.accept_lost_output);
    orchestrator::snapshot snapshot = std::move(databases.snapshot);
    access_snapshot access = std::move(databases.access);
    auto opened = std::make_unique<sqlite_store>(std::move(lock), dir, std::move(databases),
                                                 std::move(events), std::move(hooks));
    access_records* records = opened.get();
    return opened_store{std::move(opened), std::move(snapshot), records, std::move(access)};
  } catch (const open_error& e) {
    return e.failure;
  } catch (const SQLite::Exception& e) {
    return open_failure{
        74, "The databases in \"" + dir.string() + "\" cannot be opened: " + e.what() + ". Check the disk."};
  }
}

boost::system::result<opened_store, open_failure> open_sqlite_store(const std::filesystem::path& dir,
                                                                    wall_time now, store_events events,
                                                                    bool accept_lost_output) {
  store_hooks hooks;
  hooks.accept_lost_output = accept_lost_output;
  return open_sqlite_store(dir, now, std::move(events), std::move(hooks));
}

void throw_exception_from_error(const open_failure& f, const boost::source_location&) {
  throw std::runtime_error(f.message);
}

}  // namespace orchestrator::store
