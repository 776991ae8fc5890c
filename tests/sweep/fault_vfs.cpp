// The layer over SQLite's file system; see fault_vfs.hpp.
#include "fault_vfs.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cstring>
#include <mutex>
#include <string_view>
#include <vector>

#include <sqlite3.h>

#include <orchestrator/base/random.hpp>

namespace orchestrator::sweep {
namespace {

constexpr std::size_t sector = 512;

/// Before each change of a file: what it takes to undo it. The old bytes follow.
struct undo {
  std::uint32_t file;
  bool truncates;
  bool synced;
  bool lost;  ///< its fsync failed
  std::uint64_t offset;
  std::uint64_t length;    ///< of the write
  std::uint64_t old_size;  ///< of the file
  std::uint64_t kept;      ///< old bytes that follow
};

struct shim_file {
  sqlite3_file base;
  std::uint32_t index;
  half where;
  bool database;  ///< or its log
  bool temporary;
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

shared_disk* disk = nullptr;
sqlite3_vfs* below = nullptr;
std::mutex mutex;  // the store's threads share the layer

shim_file& of(sqlite3_file* f) { return *reinterpret_cast<shim_file*>(f); }

half half_of(std::string_view path) {
  if (path.find("/backup") != std::string_view::npos) return half::backup;
  return path.find("/output.db") != std::string_view::npos ? half::output : half::main;
}

std::uint32_t index_of(const char* path) {
  for (std::size_t i = 0; i < disk->files; ++i)
    if (std::strcmp(disk->names[i], path) == 0) return static_cast<std::uint32_t>(i);
  if (disk->files == most_files || std::strlen(path) >= sizeof disk->names[0]) {
    disk->overflown = true;
    return most_files - 1;
  }
  std::strcpy(disk->names[disk->files], path);
  return static_cast<std::uint32_t>(disk->files++);
}

bool hits(fault kind, operation o) {
  switch (kind) {
    case fault::none: return false;
    case fault::enospc:
    case fault::short_write: return o == operation::write;
    case fault::fsync_eio: return o == operation::sync;
    case fault::eio: return true;
    case fault::kill:
    case fault::cut:
    case fault::torn: return o != operation::index;
  }
  return false;
}

enum class verdict { go_on, fail, die_after };

/// Counts an operation and says what becomes of it; ends the process where the plan says so.
verdict judge(const shim_file* f, half where, operation o) {
  if (!disk->armed || disk->healed) return verdict::go_on;
  const auto h = static_cast<std::size_t>(where);
  if (o != operation::index) ++disk->changes[h];
  disk->writes[h] += o == operation::write ? 1 : 0;
  disk->syncs[h] += o == operation::sync ? 1 : 0;
  const plan& p = disk->now;
  if (p.target != where || !hits(p.kind, o)) return verdict::go_on;
  const std::uint32_t count = p.kind == fault::fsync_eio                                ? disk->syncs[h]
                              : p.kind == fault::enospc || p.kind == fault::short_write ? disk->writes[h]
                                                                                        : disk->changes[h];
  if (count < p.n || (count > p.n && !p.second)) return verdict::go_on;
  if (count == p.n && o != operation::index && !disk->fired) {
    disk->hit = o;
    disk->hit_database = f != nullptr && f->database;
  }
  if (ends_the_process(p.kind) && count > p.n) return verdict::go_on;
  disk->fired = true;
  if (!ends_the_process(p.kind)) return verdict::fail;
  if (p.second) return verdict::die_after;
  ::_exit(crash_exit);
}

void die_if(verdict v) {
  if (v == verdict::die_after) ::_exit(crash_exit);
}

void remember(shim_file& f, bool truncates, std::uint64_t offset, std::uint64_t length) {
  if (f.temporary || !disk->remembers) return;
  sqlite3_int64 size = 0;
  f.real()->pMethods->xFileSize(f.real(), &size);
  const auto old_size = static_cast<std::uint64_t>(size);
  const std::uint64_t end = truncates ? old_size : std::min(offset + length, old_size);
  const std::uint64_t kept = end > offset ? end - offset : 0;
  if (disk->used + sizeof(undo) + kept + 8 > log_bytes) {
    disk->overflown = true;
    return;
  }
  const undo u{f.index, truncates, false, false, offset, length, old_size, kept};
  std::memcpy(disk->log + disk->used, &u, sizeof u);
  if (kept > 0)
    f.real()->pMethods->xRead(f.real(), disk->log + disk->used + sizeof u, static_cast<int>(kept),
                              static_cast<sqlite3_int64>(offset));
  disk->used += (sizeof u + kept + 7) / 8 * 8;
}

/// Visits the log from its start; the visitor may change an entry.
template <class F>
void each(F f) {
  for (std::size_t at = 0; at < disk->used;) {
    undo u;
    std::memcpy(&u, disk->log + at, sizeof u);
    f(u, disk->log + at + sizeof u);
    std::memcpy(disk->log + at, &u, sizeof u);
    at += (sizeof u + u.kept + 7) / 8 * 8;
  }
}

void mark(std::uint32_t file, bool good) {
  bool open_entries = false;
  each([&](undo& u, const char*) {
    if (u.file == file && !u.synced && !u.lost) (good ? u.synced : u.lost) = true;
    open_entries = open_entries || !u.synced;
  });
  if (!open_entries) disk->used = 0;
}

// ---- files
// ------------------------------------------------------------------------------------------------------

int shim_close(sqlite3_file* f) { return of(f).real()->pMethods->xClose(of(f).real()); }
int shim_read(sqlite3_file* f, void* to, int n, sqlite3_int64 at) {
  return of(f).real()->pMethods->xRead(of(f).real(), to, n, at);
}
int shim_write(sqlite3_file* file, const void* from, int n, sqlite3_int64 at) {
  const std::lock_guard lock(mutex);
  shim_file& f = of(file);
  const verdict v = judge(&f, f.where, operation::write);
  if (v == verdict::fail && disk->now.kind == fault::eio) return SQLITE_IOERR_WRITE;
  if (v == verdict::fail && disk->now.kind == fault::enospc) return SQLITE_FULL;
  remember(f, false, static_cast<std::uint64_t>(at), static_cast<std::uint64_t>(n));
  if (v == verdict::fail) {
    f.real()->pMethods->xWrite(f.real(), from, n / 2, at);
    return SQLITE_FULL;
  }
  const int code = f.real()->pMethods->xWrite(f.real(), from, n, at);
  die_if(v);
  return code;
}
int shim_truncate(sqlite3_file* file, sqlite3_int64 size) {
  const std::lock_guard lock(mutex);
  shim_file& f = of(file);
  const verdict v = judge(&f, f.where, operation::truncate);
  if (v == verdict::fail) return SQLITE_IOERR_TRUNCATE;
  remember(f, true, static_cast<std::uint64_t>(size), 0);
  const int code = f.real()->pMethods->xTruncate(f.real(), size);
  die_if(v);
  return code;
}
int shim_sync(sqlite3_file* file, int) {
  const std::lock_guard lock(mutex);
  shim_file& f = of(file);
  const verdict v = judge(&f, f.where, operation::sync);
  mark(f.index, v != verdict::fail);
  if (v == verdict::fail) return SQLITE_IOERR_FSYNC;
  die_if(v);
  return SQLITE_OK;
}
int shim_size(sqlite3_file* f, sqlite3_int64* size) {
  return of(f).real()->pMethods->xFileSize(of(f).real(), size);
}
int shim_lock(sqlite3_file* f, int how) { return of(f).real()->pMethods->xLock(of(f).real(), how); }
int shim_unlock(sqlite3_file* f, int how) { return of(f).real()->pMethods->xUnlock(of(f).real(), how); }
int shim_reserved(sqlite3_file* f, int* out) {
  return of(f).real()->pMethods->xCheckReservedLock(of(f).real(), out);
}
int shim_control(sqlite3_file* f, int op, void* argument) {
  return of(f).real()->pMethods->xFileControl(of(f).real(), op, argument);
}
int shim_sector(sqlite3_file* f) { return of(f).real()->pMethods->xSectorSize(of(f).real()); }
int shim_traits(sqlite3_file* f) { return of(f).real()->pMethods->xDeviceCharacteristics(of(f).real()); }
int shim_shm_map(sqlite3_file* file, int region, int size, int extend, void volatile** out) {
  shim_file& f = of(file);
  if (extend != 0) {
    const std::lock_guard lock(mutex);
    if (judge(&f, f.where, operation::index) == verdict::fail) return SQLITE_IOERR_SHMSIZE;
  }
  return f.real()->pMethods->xShmMap(f.real(), region, size, extend, out);
}
int shim_shm_lock(sqlite3_file* f, int offset, int n, int flags) {
  return of(f).real()->pMethods->xShmLock(of(f).real(), offset, n, flags);
}
void shim_shm_barrier(sqlite3_file* f) { of(f).real()->pMethods->xShmBarrier(of(f).real()); }
int shim_shm_unmap(sqlite3_file* f, int remove) {
  return of(f).real()->pMethods->xShmUnmap(of(f).real(), remove);
}

// Version 2: with shared memory for the log's index, without mapped reads.
constexpr sqlite3_io_methods methods = {
    2,           shim_close,   shim_read,     shim_write,       shim_truncate,  shim_sync,
    shim_size,   shim_lock,    shim_unlock,   shim_reserved,    shim_control,   shim_sector,
    shim_traits, shim_shm_map, shim_shm_lock, shim_shm_barrier, shim_shm_unmap, nullptr,
    nullptr};

int shim_open(sqlite3_vfs*, const char* path, sqlite3_file* file, int flags, int* out) {
  shim_file& f = of(file);
  f.base.pMethods = nullptr;
  const bool temporary = path == nullptr;
  const std::string_view name = temporary ? "" : path;
  struct ::stat status{};
  const bool creates = !temporary && (flags & SQLITE_OPEN_CREATE) != 0 && ::stat(path, &status) != 0;
  const std::lock_guard lock(mutex);
  f.temporary = temporary;
  f.where = half_of(name);
  f.database = (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) != 0;
  f.index = temporary ? 0 : index_of(path);
  const verdict v = creates ? judge(&f, f.where, operation::create) : verdict::go_on;
  if (v == verdict::fail) return SQLITE_CANTOPEN;
  const int code = below->xOpen(below, path, f.real(), flags, out);
  if (code == SQLITE_OK) f.base.pMethods = &methods;
  die_if(v);
  return code;
}

int shim_delete(sqlite3_vfs*, const char* path, int sync_dir) {
  const std::lock_guard lock(mutex);
  const verdict v = judge(nullptr, half_of(path), operation::remove);
  if (v == verdict::fail) return SQLITE_IOERR_DELETE;
  const int code = below->xDelete(below, path, sync_dir);
  mark(index_of(path), true);  // there is nothing left of it to undo
  die_if(v);
  return code;
}

sqlite3_vfs shim;

// ---- what a power cut leaves
// ------------------------------------------------------------------------------------

/// Takes one entry back, or (torn) some sectors of it.
void undo_one(int fd, const undo& u, const char* old, random_source* coin) {
  const auto put = [&](std::uint64_t at, std::uint64_t n) {
    std::string bytes(n, '\0');
    if (at < u.offset + u.kept)
      std::memcpy(bytes.data(), old + (at - u.offset), std::min(n, u.offset + u.kept - at));
    [[maybe_unused]] const auto done = ::pwrite(fd, bytes.data(), n, static_cast<off_t>(at));
  };
  if (u.truncates) {
    if (coin != nullptr && coin->below(2) == 0) return;
    [[maybe_unused]] const int grown = ::ftruncate(fd, static_cast<off_t>(u.old_size));
    if (u.kept > 0) put(u.offset, u.kept);
    return;
  }
  bool any_kept = false;
  for (std::uint64_t at = u.offset; at < u.offset + u.length;) {
    const std::uint64_t next = std::min((at / sector + 1) * sector, u.offset + u.length);
    if (coin != nullptr && coin->below(2) == 0)
      any_kept = true;
    else
      put(at, next - at);
    at = next;
  }
  if (u.offset + u.length > u.old_size && !any_kept && coin == nullptr) {
    [[maybe_unused]] const int cut = ::ftruncate(fd, static_cast<off_t>(u.old_size));
  }
}

}  // namespace

const char* to_string(fault f) {
  constexpr const char* names[] = {"none", "eio", "enospc", "short", "fsync_eio", "kill", "cut", "torn"};
  return names[static_cast<int>(f)];
}
const char* to_string(half h) {
  constexpr const char* names[] = {"main", "output", "backup"};
  return names[static_cast<int>(h)];
}
const char* to_string(operation o) {
  constexpr const char* names[] = {"none", "write", "sync", "truncate", "remove", "create", "index"};
  return names[static_cast<int>(o)];
}
bool ends_the_process(fault f) { return f >= fault::kill; }

void install(shared_disk& d) {
  disk = &d;
  // One process at a time uses a scene, so locks between processes would be thousands of calls for nothing.
  // The databases' own locks between connections and the log's index work as ever.
  below = sqlite3_vfs_find("unix-excl");
  shim = *below;
  shim.pNext = nullptr;
  shim.zName = "faulty";
  shim.szOsFile = static_cast<int>(sizeof(shim_file)) + below->szOsFile;
  shim.xOpen = shim_open;
  shim.xDelete = shim_delete;
  sqlite3_vfs_register(&shim, 1);
}

void reset(shared_disk& d, const plan& next) {
  d.now = next;
  d.remembers = true;
  d.armed = d.healed = d.fired = d.overflown = d.hit_database = false;
  d.hit = operation::none;
  for (int h = 0; h < halves; ++h) d.changes[h] = d.writes[h] = d.syncs[h] = 0;
  d.files = d.used = 0;
  // The salts of a log are drawn: with the same ones the same work leaves the same bytes.
  sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, 1, static_cast<sqlite3*>(nullptr));
}

void arm(shared_disk& d) { d.armed = true; }
void heal(shared_disk& d) { d.healed = true; }
void forget(shared_disk& d) {
  d.remembers = false;
  d.used = 0;
}

std::uint32_t chances(const shared_disk& d, fault kind, half target) {
  const auto h = static_cast<std::size_t>(target);
  if (kind == fault::none) return 0;
  if (kind == fault::fsync_eio) return d.syncs[h];
  return kind == fault::enospc || kind == fault::short_write ? d.writes[h] : d.changes[h];
}

void cut_power(shared_disk& d, std::optional<std::uint64_t> torn_seed) {
  std::vector<std::pair<undo, const char*>> entries;
  each([&](undo& u, const char* old) {
    if (!u.synced) entries.emplace_back(u, old);
  });
  random_source coin(torn_seed.value_or(0));
  for (auto e = entries.rbegin(); e != entries.rend(); ++e) {
    const int fd = ::open(d.names[e->first.file], O_RDWR | O_CLOEXEC);
    if (fd < 0) continue;
    undo_one(fd, e->first, e->second, torn_seed ? &coin : nullptr);
    ::close(fd);
  }
  for (std::size_t i = 0; i < d.files; ++i) ::unlink((std::string{d.names[i]} + "-shm").c_str());
  d.used = 0;
}

}  // namespace orchestrator::sweep
