// The start of a store, in an order that matters: look before touching (a foreign, newer or damaged file
// stays as it is), migrate in one transaction, checkpoint, raise the term. Recovery after a crash fsyncs
// nothing, so without the last two steps rows could be shown that are not on disk.
#include "open.hpp"

#include <span>
#include <string>

#include <orchestrator/base/planted.hpp>
#include <orchestrator/base/random.hpp>

#include "access_rows.hpp"
#include "schema.hpp"

namespace orchestrator::store {
namespace {

namespace fs = std::filesystem;

// Larger databases are not read through at start; SQLite still notices damage where it meets it.
constexpr std::uintmax_t quick_check_bytes = 128u * 1024 * 1024;
constexpr int main_cache_kib = 16 * 1024;
constexpr int output_cache_kib = 2 * 1024;

struct database_kind {
  const char* name;
  std::int64_t application_id;
  std::span<const char* const> migrations;
  int cache_kib;
};

[[noreturn]] void refuse_damaged(const fs::path& file, const std::string& why) {
  refuse(
      65,
      "The database " + quoted(file) + " is damaged: " + why +
          ". Nothing was changed. Restore a backup (orchestrator server restore), or move the data directory "
          "aside to start empty.");
}

/// A file of no bytes is a new database only if no log lies beside it that says otherwise.
void check_files(const fs::path& file) {
  const fs::path log = file.string() + "-wal";
  if (size_of(file) == 0 && size_of(log) > 0)
    refuse_damaged(file, std::string{is_there(file) ? "it is empty" : "it is missing"} + ", but its log " +
                             quoted(log) + " is not");
}

/// Refuses what is not ours before anything is written; returns the version found.
std::int64_t recognise(connection& db, const fs::path& file, const database_kind& kind) {
  db.leave_untouched();
  const std::int64_t application = db.integer("PRAGMA application_id");
  const std::int64_t version = db.integer("PRAGMA user_version");
  const bool blank =
      application == 0 && version == 0 && db.integer("SELECT count(*) FROM sqlite_schema") == 0;
  if (blank) return 0;
  if (application != kind.application_id)
    refuse_damaged(file,
                   "it belongs to another program (application id " + std::to_string(application) + ")");
  const auto ours = static_cast<std::int64_t>(kind.migrations.size());
  if (version > ours)
    refuse(78, "The database " + quoted(file) + " has schema version " + std::to_string(version) +
                   ", this program knows up to " + std::to_string(ours) +
                   ". Nothing was changed. Use the newer program, or restore a backup made by this one.");
  if (version < 1) refuse_damaged(file, "it has no schema version");
  return version;
}

/// Refuses a damaged file before anything is written, if it can be read through soon.
void quick_check(connection& db, const fs::path& file) {
  if (size_of(file) > quick_check_bytes) return;
  const std::string verdict = db.text("PRAGMA quick_check(1)");
  if (verdict != "ok") refuse_damaged(file, verdict);
}

/// All steps in one transaction: a kill at any point leaves the old version or the new one.
void migrate(connection& db, std::int64_t version, const database_kind& kind) {
  if (version == static_cast<std::int64_t>(kind.migrations.size())) return;
  db.execute("BEGIN IMMEDIATE");
  for (const char* step : kind.migrations.subspan(static_cast<std::size_t>(version))) db.execute(step);
  db.execute("PRAGMA application_id=" + std::to_string(kind.application_id));
  db.execute("PRAGMA user_version=" + std::to_string(kind.migrations.size()));
  db.execute("COMMIT");
}

void checkpoint_at_start(connection& db, const fs::path& file) {
  if (checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE).busy)
    refuse(75, "The database " + quoted(file) + " is in use by another program. Close it there.");
  const auto wanted =
      static_cast<std::uintmax_t>(db.integer("PRAGMA page_count") * db.integer("PRAGMA page_size"));
  if (size_of(file) < wanted) refuse_damaged(file, "it is shorter than it says");
}

struct opened_database {
  connection db;
  bool created;
};

opened_database open_database(const fs::path& dir, const database_kind& kind) {
  const fs::path file = dir / kind.name;
  check_files(file);
  const bool created = !is_there(file);
  if (created) {
    create_private_file(file);
    sync_directory(dir);
  }
  try {
    connection db(file, access::read_write);
    const std::int64_t version = recognise(db, file, kind);
    if (version > 0) quick_check(db, file);
    configure_writer(db, kind.cache_kib);
    migrate(db, version, kind);
    if (!planted(defect::start_without_checks)) checkpoint_at_start(db, file);
    sqlite3_db_config(db.handle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, static_cast<int*>(nullptr));
    return {std::move(db), version == 0};
  } catch (const SQLite::Exception& e) {
    refuse_failed(file, e);
  }
}

void begin_history(connection& db, wall_time now) {
  const uuid cluster = make_uuid_v4(system_random(), system_random());
  db.prepared("INSERT INTO meta(key,value) VALUES('cluster',?1),('term',0),('created_at',?2)")
      .with(cluster, now)
      .run();
  db.execute("INSERT INTO progress VALUES(1,0,0,0,0)");
  for (int state = 0; state < 10; ++state)
    db.prepared("INSERT INTO run_counts(state,count) VALUES(?1,0)").with(state).run();
}

/// Makes the cluster's identity at the first start and raises the term at every one, durably.
void begin_term(connection& db, wall_time now) {
  if (planted(defect::start_without_checks)) db.execute("PRAGMA synchronous=NORMAL");
  db.execute("BEGIN IMMEDIATE");
  if (db.integer("SELECT count(*) FROM meta WHERE key='cluster'") == 0) begin_history(db, now);
  db.execute("UPDATE meta SET value=value+1 WHERE key='term'");
  db.execute("COMMIT");
}

uuid read_cluster(connection& db) {
  statement query(db.handle(), "SELECT value FROM meta WHERE key='cluster'");
  return query.next() ? query.id(0) : uuid{};
}

/// Whether there was an output database once. A main database that was used before it said so itself has
/// attempts, if anything was printed.
bool had_output(connection& main) {
  return main.integer(
             "SELECT EXISTS(SELECT 1 FROM meta WHERE key='output_bound') OR EXISTS(SELECT 1 FROM "
             "attempts)") != 0;
}

[[noreturn]] void refuse_lost_output(const fs::path& dir) {
  refuse(65,
         "The database " + quoted(dir / output_file) + " is missing or empty, and the runs in " +
             quoted(dir / main_file) +
             " have their output in it. Put it back, or restore a backup (orchestrator server restore), or "
             "start once with --accept-lost-output to go on without the output of all runs until now.");
}

/// The output belongs to the runs of one database; that of another must not appear beside them. True if an
/// empty one takes the place of one that is lost, as was asked for.
bool bind_output(connection& main, connection& output, const fs::path& dir, bool accept_lost_output) {
  const uuid cluster = read_cluster(main);
  const uuid bound = read_cluster(output);
  const bool lost = bound.is_nil() && had_output(main);
  if (lost && !accept_lost_output) refuse_lost_output(dir);
  if (bound.is_nil())
    output.prepared("INSERT INTO meta(key,value) VALUES('cluster',?1)").with(cluster).run();
  else if (bound != cluster)
    refuse_damaged(dir / output_file, "it is the output of another database (" + to_string(bound) + ", not " +
                                          to_string(cluster) + ")");
  // Only now: a start that is killed between the two has lost nothing.
  main.execute("INSERT OR IGNORE INTO meta(key,value) VALUES('output_bound',1)");
  return lost;
}

std::vector<lease_id> unfinished_drops(connection& main) {
  std::vector<lease_id> leases;
  statement query(main.handle(), "SELECT lease FROM dropped_output ORDER BY lease");
  while (query.next()) leases.push_back(lease_id{query.number(0)});
  return leases;
}

const database_kind main_kind{main_file, main_application_id, main_migrations(), main_cache_kib};
const database_kind output_kind{output_file, output_application_id, output_migrations(), output_cache_kib};

void refuse_half_restored(const fs::path& dir) {
  if (is_there(dir / restoring_file))
    refuse(65,
           "A restore into " + quoted(dir) +
               " was cut short, and its databases are neither the old nor the new. Run it again "
               "(orchestrator server restore BACKUP --data-dir DIR --replace); what was there before lies "
               "in its folder replaced-TIME.");
}

}  // namespace

void refuse_failed(const fs::path& file, const SQLite::Exception& e) {
  const std::string why = e.what();
  switch (e.getErrorCode() & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: refuse_damaged(file, why);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      refuse(75,
             "The database " + quoted(file) + " is in use by another program (" + why + "). Close it there.");
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      refuse(73, "The database " + quoted(file) + " cannot be written: " + why +
                     ". Check its mode and its disk.");
    case SQLITE_FULL:
      refuse(74, "There is no room for the database " + quoted(file) + ": " + why + ". Free some space.");
    default: refuse(74, "The database " + quoted(file) + " cannot be opened: " + why + ". Check the disk.");
  }
}

void check_integrity(connection& db, const fs::path& file) {
  const std::string verdict = db.text("PRAGMA integrity_check(1)");
  if (verdict != "ok") refuse_damaged(file, verdict);
}

connection open_read_only(const fs::path& dir, const char* name) {
  const fs::path file = dir / name;
  refuse_half_restored(dir);
  if (!is_there(file))
    refuse(73, "There is no database " + quoted(file) + ". Name the directory of a server.");
  check_files(file);
  try {
    connection db(file, access::read_only);
    configure_reader(db, output_cache_kib);
    if (recognise(db, file, name == std::string_view{main_file} ? main_kind : output_kind) == 0)
      refuse_damaged(file, "it is empty");
    db.execute("BEGIN");
    db.integer("SELECT count(*) FROM sqlite_schema");
    return db;
  } catch (const SQLite::Exception& e) {
    refuse_failed(file, e);
  }
}

opened_databases open_databases(const fs::path& dir, wall_time now, bool accept_lost_output) {
  refuse_half_restored(dir);
  // orchestrator.db is made first, so output alone means that the more important half is lost.
  if (!is_there(dir / main_file) && size_of(dir / output_file) > 0)
    refuse_damaged(dir / main_file, "it is missing, but " + quoted(dir / output_file) + " is not");
  opened_database main = open_database(dir, main_kind);
  try {
    // Before an empty one is made in its place.
    if (size_of(dir / output_file) == 0 && !accept_lost_output && had_output(main.db))
      refuse_lost_output(dir);
    opened_database output = open_database(dir, output_kind);
    begin_term(main.db, now);
    const bool lost = bind_output(main.db, output.db, dir, accept_lost_output);
    orchestrator::snapshot snapshot = load_snapshot(main.db, output.db, now);
    snapshot.output_lost_now = lost;
    std::vector<lease_id> drops = unfinished_drops(main.db);
    access_snapshot access = load_access(main.db);
    return {std::move(main.db), std::move(output.db), std::move(snapshot), std::move(drops),
            std::move(access)};
  } catch (const SQLite::Exception& e) {
    refuse_failed(dir / main_file, e);
  }
}

}  // namespace orchestrator::store
