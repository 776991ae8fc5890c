// Preloaded into a coordinator or worker of a test: system calls that the kernel will not fail on request. The files in
// the directory that FAILING_CALLS names say what becomes of them, and are asked at each call:
//   sync   a number: fsync and fdatasync take so many milliseconds more; "hold": until it says otherwise; "eio": they fail
//   spawn  posix_spawn fails with this errno
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int ordered(const char* call, char* order, size_t size) {
  const char* dir = getenv("FAILING_CALLS");
  char file[4096];
  if (dir == NULL || snprintf(file, sizeof file, "%s/%s", dir, call) >= (int)sizeof file) return 0;
  const int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t got = read(fd, order, size - 1);
  close(fd);
  order[got > 0 ? got : 0] = '\0';
  return got > 0;
}

// Whether the call is to fail.
static int sync_fails(void) {
  char order[32];
  while (ordered("sync", order, sizeof order)) {
    if (strcmp(order, "eio") == 0) return 1;
    if (strcmp(order, "hold") != 0) {
      usleep((useconds_t)atoi(order) * 1000);
      return 0;
    }
    usleep(5000);
  }
  return 0;
}

typedef int (*sync_call)(int);

int fsync(int fd) {
  if (sync_fails()) return errno = EIO, -1;
  return ((sync_call)dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
  if (sync_fails()) return errno = EIO, -1;
  return ((sync_call)dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

typedef int (*spawn_call)(pid_t*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*, char* const[],
                          char* const[]);

int posix_spawn(pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions,
                const posix_spawnattr_t* attributes, char* const argv[], char* const env[]) {
  char order[32];
  if (ordered("spawn", order, sizeof order)) return atoi(order);
  return ((spawn_call)dlsym(RTLD_NEXT, "posix_spawn"))(pid, path, actions, attributes, argv, env);
}
