// SPDX-License-Identifier: Apache-2.0
//
// Preloaded into a Java process: counts the calls that change files below one directory, and from
// one of them on lets none reach the disk, as if the process had been killed there. Each is written
// to a trace, a line of its name and the file's.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <unordered_map>

namespace {

std::recursive_mutex mutex;
std::string directory;
long calls = 0;
long last = 0;       // The call that is the last one; 0 for none.
bool torn = false;   // Whether half of it is done, where it writes.
int trace = -1;

std::unordered_map<int, std::string>& files() {
    static std::unordered_map<int, std::string> all;
    return all;
}

template <typename F>
F real(const char* name) {
    return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

bool below(const std::string& path) {
    return !directory.empty() && (path + "/").compare(0, directory.size(), directory) == 0;
}

std::string absolute(const char* path) {
    if (path[0] == '/') {
        return path;
    }
    char base[PATH_MAX];
    return std::string(getcwd(base, sizeof base) ? base : "") + "/" + path;
}

std::string file(int fd) {
    auto found = files().find(fd);
    return found == files().end() ? "" : found->second;
}

enum Verdict { DO, HALF, DEAD };

/// Counts a call, and says whether it still happens.
Verdict count(const char* name, const std::string& path) {
    if (!below(path)) {
        return DO;
    }
    calls++;
    if (last != 0 && calls >= last) {
        if (calls == last && torn) {
            return HALF;
        }
        errno = EIO;
        return DEAD;
    }
    if (trace >= 0) {
        size_t from = std::min(path.size(), directory.size());
        std::string line = std::string(name) + " " + path.substr(from) + "\n";
        static auto put = real<ssize_t (*)(int, const void*, size_t)>("write");
        (void)!put(trace, line.data(), line.size());
    }
    return DO;
}

int dead() {
    errno = EIO;
    return -1;
}

template <typename F>
int opened(const char* path, int flags, F open) {
    std::lock_guard<std::recursive_mutex> guard(mutex);
    std::string name = absolute(path);
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    struct stat there;
    bool creates = (flags & O_CREAT) != 0 && stat(name.c_str(), &there) != 0;
    bool changes = writes && (creates || (flags & O_TRUNC) != 0);
    if (changes && count(creates ? "create" : "truncate", name) != DO) {
        return dead();
    }
    int fd = open();
    if (fd >= 0) {
        files().erase(fd);
        if (below(name)) {
            files()[fd] = name;
        }
    }
    return fd;
}

template <typename F>
ssize_t written(const char* call, int fd, size_t bytes, F write) {
    std::unique_lock<std::recursive_mutex> guard(mutex);
    std::string name = file(fd);
    if (name.empty()) {
        guard.unlock();
        return write(bytes);
    }
    switch (count(call, name)) {
        case DO:
            return write(bytes);
        case HALF:
            write(bytes / 2);
            break;
        case DEAD:
            break;
    }
    return dead();
}

template <typename F>
int changed(const char* call, const std::string& path, F change) {
    std::lock_guard<std::recursive_mutex> guard(mutex);
    return count(call, path) == DO ? change() : dead();
}

mode_t mode(int flags, va_list more) {
    return (flags & O_CREAT) != 0 ? static_cast<mode_t>(va_arg(more, int)) : 0;
}

}  // namespace

extern "C" {

/// From now on calls below a directory are counted.
///
/// @param at the call that is the last one, from 1; 0 for none
/// @param half lets half of it happen, where it writes
/// @param lines file of the trace
void crash_begin(const char* below, long at, int half, const char* lines) {
    std::lock_guard<std::recursive_mutex> guard(mutex);
    directory = below;
    calls = 0;
    last = at;
    torn = half != 0;
    trace = real<int (*)(const char*, int, ...)>("open")(
        lines, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
}

/// @return calls since the beginning
long crash_end() {
    std::lock_guard<std::recursive_mutex> guard(mutex);
    directory.clear();
    real<int (*)(int)>("close")(trace);
    return calls;
}

#define OPEN(NAME)                                                              \
    int NAME(const char* path, int flags, ...) {                                \
        va_list more;                                                           \
        va_start(more, flags);                                                  \
        mode_t m = mode(flags, more);                                           \
        va_end(more);                                                           \
        return opened(path, flags, [&] {                                        \
            return real<int (*)(const char*, int, ...)>(#NAME)(path, flags, m); \
        });                                                                     \
    }
OPEN(open)
OPEN(open64)

int creat(const char* path, mode_t m) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, m); }

int close(int fd) {
    {
        std::lock_guard<std::recursive_mutex> guard(mutex);
        files().erase(fd);
    }
    return real<int (*)(int)>("close")(fd);
}

int dup2(int from, int to) {
    std::lock_guard<std::recursive_mutex> guard(mutex);
    std::string name = file(from);
    files().erase(to);
    if (!name.empty()) {
        files()[to] = name;
    }
    return real<int (*)(int, int)>("dup2")(from, to);
}

ssize_t write(int fd, const void* data, size_t bytes) {
    static auto put = real<ssize_t (*)(int, const void*, size_t)>("write");
    return written("write", fd, bytes, [&](size_t n) { return put(fd, data, n); });
}

#define PWRITE(NAME)                                                                    \
    ssize_t NAME(int fd, const void* data, size_t bytes, off_t at) {                    \
        static auto put = real<ssize_t (*)(int, const void*, size_t, off_t)>(#NAME);    \
        return written("write", fd, bytes, [&](size_t n) { return put(fd, data, n, at); }); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t writev(int fd, const struct iovec* parts, int count) {
    static auto put = real<ssize_t (*)(int, const struct iovec*, int)>("writev");
    return written("write", fd, count, [&](size_t n) { return put(fd, parts, (int)n); });
}

ssize_t copy_file_range(int in, off64_t* from, int out, off64_t* to, size_t bytes, unsigned flags) {
    static auto copy =
        real<ssize_t (*)(int, off64_t*, int, off64_t*, size_t, unsigned)>("copy_file_range");
    return written("write", out, bytes,
                   [&](size_t n) { return copy(in, from, out, to, n, flags); });
}

#define SENDFILE(NAME)                                                              \
    ssize_t NAME(int out, int in, off_t* from, size_t bytes) {                      \
        static auto copy = real<ssize_t (*)(int, int, off_t*, size_t)>(#NAME);      \
        return written("write", out, bytes, [&](size_t n) { return copy(out, in, from, n); }); \
    }
SENDFILE(sendfile)
SENDFILE(sendfile64)

#define ON_FILE(NAME, ...)                                                 \
    return changed(#NAME, file(fd), [&] { return real<decltype(&NAME)>(#NAME)(__VA_ARGS__); });
#define ON_PATH(NAME, ...)                                                 \
    return changed(#NAME, absolute(path), [&] { return real<decltype(&NAME)>(#NAME)(__VA_ARGS__); });

int ftruncate(int fd, off_t size) noexcept { ON_FILE(ftruncate, fd, size) }
int ftruncate64(int fd, off64_t size) noexcept { ON_FILE(ftruncate64, fd, size) }
int fsync(int fd) { ON_FILE(fsync, fd) }
int fdatasync(int fd) { ON_FILE(fdatasync, fd) }
int rename(const char* path, const char* to) noexcept { ON_PATH(rename, path, to) }
int unlink(const char* path) noexcept { ON_PATH(unlink, path) }
int rmdir(const char* path) noexcept { ON_PATH(rmdir, path) }
int mkdir(const char* path, mode_t m) noexcept { ON_PATH(mkdir, path, m) }
int symlink(const char* to, const char* path) noexcept { ON_PATH(symlink, to, path) }
}
