// Where small blocks of the simulator come from: a free list for each size. It has one thread and makes tens
// of thousands of blocks a seed, for which a general allocator does too much. A build with sanitizers keeps
// theirs.
#include <sys/mman.h>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)

namespace orchestrator::sim {
namespace {

constexpr std::size_t step = 16, largest = 1024, classes = largest / step + 1;
constexpr std::size_t page = 64 * 1024, pages = 64 * 1024;  ///< of address space, not of memory

struct block {
  block* next;
};

/// All pages lie in one region, each with blocks of one size, so that an address tells its size.
char* region = nullptr;
std::size_t pages_used = 0;
std::array<std::uint8_t, pages> class_of_page;
std::array<block*, classes> unused;

bool is_ours(const void* p) {
  return static_cast<std::size_t>(static_cast<const char*>(p) - region) < pages_used * page;
}

/// False if the region is used up.
bool add_page(std::size_t size_class) {
  if (region == nullptr) {
    void* at = ::mmap(nullptr, page * pages, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return false;
    region = static_cast<char*>(at);
  }
  if (pages_used == pages) return false;
  class_of_page[pages_used] = static_cast<std::uint8_t>(size_class);
  char* const begin = region + page * pages_used++;
  const std::size_t size = size_class * step;
  for (std::size_t n = page / size; n-- > 0;)
    unused[size_class] = new (begin + n * size) block{unused[size_class]};
  return true;
}

void* take(std::size_t bytes) {
  const std::size_t size_class = bytes == 0 ? 1 : (bytes + step - 1) / step;
  if (size_class < classes && (unused[size_class] != nullptr || add_page(size_class))) [[likely]] {
    block* b = unused[size_class];
    unused[size_class] = b->next;
    return b;
  }
  if (void* large = std::malloc(bytes)) return large;
  throw std::bad_alloc();
}

void give_back(void* p) {
  if (p == nullptr) return;
  if (!is_ours(p)) return std::free(p);
  block*& list = unused[class_of_page[static_cast<std::size_t>(static_cast<char*>(p) - region) / page]];
  list = new (p) block{list};
}

}  // namespace
}  // namespace orchestrator::sim

void* operator new(std::size_t bytes) { return orchestrator::sim::take(bytes); }
void operator delete(void* p) noexcept { orchestrator::sim::give_back(p); }
void operator delete(void* p, std::size_t) noexcept { orchestrator::sim::give_back(p); }

#endif
