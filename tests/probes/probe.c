/* What code in a box can do that it should not. Prints `pass NAME`, or `fail NAME: why`, a line each, and exits 1 when
 * anything failed. Static, so that it runs in any image; needs nothing but itself and /proc.
 *
 * Run it in any sandbox: `probe`. Names as arguments choose probes: `probe tiocsti vsock`. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <unistd.h>

extern char **environ;
static char why[512];

#define FAIL(...) do { snprintf(why, sizeof why, __VA_ARGS__); return 1; } while (0)
/* The call must fail, with any error. */
#define MUST_FAIL(name, call) do { errno = 0; if ((long)(call) != -1) FAIL("%s worked", name); } while (0)
/* The call must fail because it is not allowed, not because its arguments make no sense. */
#define MUST_BE_REFUSED(name, call) do { \
    errno = 0; \
    if ((long)(call) != -1) FAIL("%s worked", name); \
    if (errno != EPERM && errno != ENOSYS && errno != EACCES) FAIL("%s is let through (%s)", name, strerror(errno)); \
  } while (0)

/* files */

static int host_files(void) {
  const char *names[] = {"/root/.ssh", "/var/run/docker.sock", "/run/dbus/system_bus_socket",
                         "/run/user", "/tmp/.X11-unix", "/run/podman", "/var/lib/docker", "/run/systemd"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (access(names[i], F_OK) == 0) FAIL("%s is there", names[i]);
  return 0;
}

static int write_file(const char *path) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  close(fd);
  return 0;
}

static int kernel_settings(void) {
  const char *names[] = {"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/panic_on_oom",
                         "/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/proc/sys/user/max_user_namespaces",
                         "/sys/kernel/uevent_helper", "/sys/power/state"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (write_file(names[i]) == 0) FAIL("%s can be opened for writing", names[i]);
  /* a file of root's is writable for root without rights: the mount must forbid it */
  FILE *mounts = fopen("/proc/self/mountinfo", "re");
  if (!mounts) return 0;
  char line[4096];
  int found = 0;
  while (fgets(line, sizeof line, mounts)) {
    char at[1024], options[512];
    if (sscanf(line, "%*s %*s %*s %*s %1023s %511s", at, options) != 2) continue;
    if (!strcmp(at, "/proc/sys") && !strncmp(options, "ro", 2)) found = 1;
  }
  fclose(mounts);
  if (!found) FAIL("/proc/sys is not mounted read-only");
  return 0;
}

static int masked_files(void) {
  const char *names[] = {"/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/kallsyms", "/proc/timer_list",
                         "/proc/sched_debug", "/proc/latency_stats", "/proc/interrupts"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    int fd = open(names[i], O_RDONLY | O_CLOEXEC);
    char byte;
    if (fd >= 0 && read(fd, &byte, 1) == 1) { close(fd); FAIL("%s can be read", names[i]); }
    if (fd >= 0) close(fd);
  }
  return 0;
}

static int masked_folders(void) {
  const char *names[] = {"/proc/acpi", "/proc/scsi", "/proc/asound", "/sys/firmware", "/sys/devices/virtual/powercap"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    DIR *folder = opendir(names[i]);
    if (!folder) continue;
    int entries = 0;
    while (readdir(folder)) entries++;
    closedir(folder);
    if (entries > 2) FAIL("%s has entries", names[i]);
  }
  return 0;
}

static int kernel_log(void) { MUST_BE_REFUSED("syslog", syscall(SYS_syslog, 10 /* size of the buffer */, 0, 0)); return 0; }

/* descriptors */

static int descriptors(void) {
  DIR *folder = opendir("/proc/self/fd");
  if (!folder) FAIL("no /proc/self/fd");
  struct dirent *entry;
  while ((entry = readdir(folder))) {
    int fd = atoi(entry->d_name);
    if (fd > 2 && fd != dirfd(folder)) { closedir(folder); FAIL("descriptor %d is open", fd); }
  }
  closedir(folder);
  return 0;
}

static int executables(void) {
  /* whoever started us: its program must be out of reach */
  MUST_FAIL("open(/proc/1/exe, O_WRONLY)", open("/proc/1/exe", O_WRONLY | O_CLOEXEC));
  int fd = open("/proc/1/exe", O_PATH | O_CLOEXEC);
  if (fd >= 0) { close(fd); if (getpid() != 1) FAIL("/proc/1/exe can be followed"); }
  return 0;
}

/* processes */

static int other_processes(void) {
  DIR *folder = opendir("/proc");
  if (!folder) FAIL("no /proc");
  int count = 0;
  struct dirent *entry;
  while ((entry = readdir(folder))) count += entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
  closedir(folder);
  if (count > 12) FAIL("%d processes are to be seen", count);
  return 0;
}

static int init_memory(void) {
  if (getpid() == 1) return 0;
  if (ptrace(PTRACE_SEIZE, 1, 0, 0) == 0) {
    ptrace(PTRACE_DETACH, 1, 0, 0);
    FAIL("ptrace of pid 1 worked");
  }
  MUST_FAIL("open(/proc/1/mem)", open("/proc/1/mem", O_RDWR | O_CLOEXEC));
  MUST_FAIL("open(/proc/1/root)", open("/proc/1/root/", O_RDONLY | O_CLOEXEC));
  return 0;
}

static int init_environment(void) {
  if (getpid() == 1) return 0;
  char text[4096];
  int fd = open("/proc/1/environ", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t length = read(fd, text, sizeof text);
  close(fd);
  if (length > 0) FAIL("%zd bytes of /proc/1/environ can be read", length);
  return 0;
}

static int environment(void) {
  const char *names[] = {"SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "GPG_AGENT_INFO",
                         "DOCKER_HOST", "TMUX", "XDG_RUNTIME_DIR", "AWS_SECRET_ACCESS_KEY", "PROBE_SECRET"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (getenv(names[i])) FAIL("%s is set", names[i]);
  return 0;
}

static long status(const char *key, int base) {
  char line[256];
  long value = -1;
  FILE *file = fopen("/proc/self/status", "re");
  while (file && fgets(line, sizeof line, file))
    if (!strncmp(line, key, strlen(key))) value = strtol(line + strlen(key), 0, base);
  if (file) fclose(file);
  return value;
}

static int capabilities(void) {
  const char *sets[] = {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"};
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
    if (status(sets[i], 16) != 0) FAIL("%s %lx", sets[i], status(sets[i], 16));
  return 0;
}

static int no_new_privileges(void) {
  if (status("NoNewPrivs:", 10) != 1) FAIL("no_new_privs is not set");
  return 0;
}

static int filtered(void) {
  if (status("Seccomp:", 10) != 2) FAIL("there is no system-call filter");
  return 0;
}

static int set_ids(void) {
  char path[] = "/tmp/probe-setuid-XXXXXX";
  int fd = mkstemp(path);
  if (fd < 0) return 0;
  int bad = fchmod(fd, 04755) == 0 && status("NoNewPrivs:", 10) != 1;
  close(fd);
  unlink(path);
  if (bad) FAIL("set-uid bits work");
  return 0;
}

static int core_dumps(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_CORE, &limit) || limit.rlim_max != 0) FAIL("core dumps can be had");
  return 0;
}

static int memory_score(void) {
  char text[16] = "";
  int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) { if (read(fd, text, sizeof text - 1) < 0) text[0] = 0; close(fd); }
  if (atoi(text) <= 0) FAIL("oom_score_adj is %d", atoi(text));
  return 0;
}

/* sockets and network */

static int make_socket(int family, int type, int protocol) {
  int fd = socket(family, type | SOCK_CLOEXEC, protocol);
  if (fd >= 0) close(fd);
  return fd < 0 ? -1 : 0;
}

static int vsock(void) { MUST_BE_REFUSED("socket(AF_VSOCK)", make_socket(AF_VSOCK, SOCK_STREAM, 0)); return 0; }
static int packet_sockets(void) {
  MUST_BE_REFUSED("socket(AF_PACKET)", make_socket(AF_PACKET, SOCK_RAW, 0));
  MUST_BE_REFUSED("socket(AF_INET, SOCK_PACKET)", make_socket(AF_INET, 10, 0));
  return 0;
}
static int raw_sockets(void) {
  MUST_BE_REFUSED("socket(AF_INET, SOCK_RAW)", make_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
  MUST_BE_REFUSED("socket(AF_INET6, SOCK_RAW)", make_socket(AF_INET6, SOCK_RAW, 58));
  return 0;
}
static int netlink(void) {
  if (make_socket(AF_NETLINK, SOCK_RAW, 0)) FAIL("netlink's routes are gone: %s", strerror(errno));
  MUST_BE_REFUSED("socket(NETLINK_AUDIT)", make_socket(AF_NETLINK, SOCK_RAW, 9));
  MUST_BE_REFUSED("socket(NETLINK_NETFILTER)", make_socket(AF_NETLINK, SOCK_RAW, 12));
  MUST_BE_REFUSED("socket(NETLINK_KOBJECT_UEVENT)", make_socket(AF_NETLINK, SOCK_RAW, 15));
  return 0;
}
static int strange_sockets(void) {
  int families[] = {AF_ALG, AF_BLUETOOTH, AF_CAN, AF_TIPC, AF_RDS, AF_KEY, AF_XDP};
  for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
    char name[32];
    snprintf(name, sizeof name, "socket(%d)", families[i]);
    MUST_BE_REFUSED(name, make_socket(families[i], families[i] == AF_ALG ? SOCK_SEQPACKET : SOCK_RAW, 0));
  }
  return 0;
}

static int network(void) {
  DIR *folder = opendir("/proc/self/net");
  if (folder) closedir(folder);
  FILE *file = fopen("/proc/self/net/dev", "re");
  char line[512];
  while (file && fgets(line, sizeof line, file)) {
    char *name = line + strspn(line, " ");
    char *colon = strchr(name, ':');
    if (!colon) continue;
    *colon = 0;
    if (strcmp(name, "lo")) { fclose(file); FAIL("there is a device %s", name); }
  }
  if (file) fclose(file);
  struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(53)};
  where.sin_addr.s_addr = htonl(0x01010101);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  int connected = connect(fd, (struct sockaddr *)&where, sizeof where);
  close(fd);
  if (connected == 0) FAIL("there is a route to the world");
  return 0;
}

/* of others: this program makes none */
static int abstract_sockets(void) {
  FILE *file = fopen("/proc/self/net/unix", "re");
  char line[512];
  int found = 0;
  while (file && fgets(line, sizeof line, file)) found += strstr(line, " @") != 0;
  if (file) fclose(file);
  if (found) FAIL("%d abstract sockets of others are to be seen", found);
  return 0;
}

/* keys */

static int keyring(void) {
  MUST_BE_REFUSED("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
  MUST_BE_REFUSED("add_key", syscall(SYS_add_key, "user", "devbox-probe", "x", 1, KEY_SPEC_PROCESS_KEYRING));
  MUST_BE_REFUSED("request_key", syscall(SYS_request_key, "user", "devbox-probe", 0, 0));
  return 0;
}

/* kernel interfaces */

static int bpf(void) { char attr[128] = {0}; MUST_BE_REFUSED("bpf", syscall(SYS_bpf, 0, attr, sizeof attr)); return 0; }
static int perf(void) {
  char attr[128] = {0};
  MUST_BE_REFUSED("perf_event_open", syscall(SYS_perf_event_open, attr, 0, -1, -1, 0));
  return 0;
}
static int io_uring(void) {
  char params[256] = {0};
  MUST_BE_REFUSED("io_uring_setup", syscall(425, 1, params));
  MUST_BE_REFUSED("io_uring_enter", syscall(426, -1, 0, 0, 0, 0, 0));
  MUST_BE_REFUSED("io_uring_register", syscall(427, -1, 0, 0, 0));
  return 0;
}
static int userfault(void) { MUST_BE_REFUSED("userfaultfd", syscall(SYS_userfaultfd, 0x800 | 1 /* user mode only */)); return 0; }
static int handles(void) { MUST_BE_REFUSED("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, 0, 0)); return 0; }
static int modules(void) {
  MUST_BE_REFUSED("init_module", syscall(SYS_init_module, 0, 0, 0));
  MUST_BE_REFUSED("finit_module", syscall(SYS_finit_module, -1, 0, 0));
  MUST_BE_REFUSED("delete_module", syscall(SYS_delete_module, "devbox-probe", O_NONBLOCK));
  MUST_BE_REFUSED("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
  return 0;
}
static int machine(void) {
  MUST_BE_REFUSED("swapon", syscall(SYS_swapon, "/nowhere", 0));
  MUST_BE_REFUSED("acct", syscall(SYS_acct, "/nowhere"));
  MUST_BE_REFUSED("quotactl", syscall(SYS_quotactl, 0x80000700, "/nowhere", 0, 0));
  MUST_BE_REFUSED("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
  MUST_BE_REFUSED("settimeofday", syscall(SYS_settimeofday, 0, 0));
  MUST_BE_REFUSED("clock_settime", syscall(SYS_clock_settime, 99, 0));
  MUST_BE_REFUSED("sethostname", syscall(SYS_sethostname, "x", -1));
#ifdef SYS_iopl
  MUST_BE_REFUSED("iopl", syscall(SYS_iopl, 9));
  MUST_BE_REFUSED("ioperm", syscall(SYS_ioperm, 0, 1, 1));
#endif
  return 0;
}
static int personality_bits(void) { MUST_BE_REFUSED("personality(READ_IMPLIES_EXEC)", syscall(SYS_personality, 0x0400000)); return 0; }

/* namespaces and mounts */

static int in_child(int (*probe)(void)) {
  int ends[2], state;
  if (pipe(ends)) return 0;
  pid_t child = fork();
  if (child == 0) {
    int result = probe();
    if (result && write(ends[1], why, sizeof why) < 0) _exit(2);
    _exit(result);
  }
  waitpid(child, &state, 0);
  if (WIFEXITED(state) && WEXITSTATUS(state) == 1 && read(ends[0], why, sizeof why) < 0) why[0] = 0;
  close(ends[0]);
  close(ends[1]);
  return !WIFEXITED(state) || WEXITSTATUS(state) != 0;
}

static int unshare_all(void) {
  int flags[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP, 0x80,
                 CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET};
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
    char name[48];
    snprintf(name, sizeof name, "unshare(%#x)", flags[i]);
    MUST_FAIL(name, unshare(flags[i]));
  }
  return 0;
}
static int namespaces(void) { return in_child(unshare_all); }

static int clone_namespaces(void) {
  errno = 0;
  long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  if (child == 0) _exit(0);
  if (child > 0) { waitpid(child, 0, 0); FAIL("clone(CLONE_NEWUSER) worked"); }
  struct { uint64_t flags, rest[7]; } arguments = {.flags = CLONE_NEWUSER};
  child = syscall(435 /* clone3 */, &arguments, sizeof arguments);
  if (child == 0) _exit(0);
  if (child > 0) { waitpid(child, 0, 0); FAIL("clone3(CLONE_NEWUSER) worked"); }
  if (errno != ENOSYS) FAIL("clone3 says %s", strerror(errno));
  return 0;
}

static int joining(void) {
  int fd = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  long result = syscall(SYS_setns, fd, CLONE_NEWNET);
  int reason = errno;
  close(fd);
  if (result == 0 || (reason != EPERM && reason != ENOSYS)) FAIL("setns is let through (%s)", strerror(reason));
  return 0;
}

static int mounts(void) {
  /* at a place that is not there: the question is whether one may ask */
  MUST_BE_REFUSED("mount", mount("none", "/nowhere", "tmpfs", 0, 0));
  MUST_BE_REFUSED("umount", umount2("/nowhere", 0));
  MUST_BE_REFUSED("fsopen", syscall(430, "nowhere", 0));
  MUST_BE_REFUSED("open_tree", syscall(428, AT_FDCWD, "/nowhere", 0));
  MUST_BE_REFUSED("move_mount", syscall(429, -1, "", AT_FDCWD, "/nowhere", 4));
  MUST_BE_REFUSED("mount_setattr", syscall(442, AT_FDCWD, "/nowhere", 0, 0, 0));
  MUST_BE_REFUSED("pivot_root", syscall(SYS_pivot_root, "/nowhere", "/nowhere"));
  MUST_BE_REFUSED("chroot", chroot("/nowhere"));
  return 0;
}

/* devices */

static int devices(void) {
  const char *kinds[] = {"/tmp/probe-disk", "/tmp/probe-memory"};
  for (int i = 0; i < 2; i++) {
    int made = mknod(kinds[i], (i ? S_IFCHR : S_IFBLK) | 0666, i ? makedev(1, 1) : makedev(8, 0));
    unlink(kinds[i]);
    if (made == 0) FAIL("mknod makes a device");
  }
  const char *names[] = {"/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/vsock", "/dev/uinput"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (access(names[i], F_OK) == 0) FAIL("%s is there", names[i]);
  return 0;
}

/* cgroups */

static int cgroups(void) {
  FILE *file = fopen("/proc/self/cgroup", "re");
  char line[4096];
  while (file && fgets(line, sizeof line, file)) {
    char *path = strrchr(line, ':');
    if (path && strcmp(path, ":/\n")) { fclose(file); FAIL("it stands in %.200s", path + 1); }
  }
  if (file) fclose(file);
  const char *names[] = {"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/memory/release_agent"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (write_file(names[i]) == 0) FAIL("%s can be written", names[i]);
  MUST_FAIL("mkdir(/sys/fs/cgroup/devbox-probe)", mkdir("/sys/fs/cgroup/devbox-probe", 0700));
  return 0;
}

/* terminal: a descriptor that is none tells whether the request gets as far as that */

static int tiocsti(void) {
  char key = 'x';
  MUST_BE_REFUSED("ioctl(TIOCSTI)", syscall(SYS_ioctl, -1, (unsigned long)TIOCSTI, &key));
  return 0;
}
static int tiocsti_high(void) {
  char key = 'x';
  MUST_BE_REFUSED("ioctl(TIOCSTI | 1 << 32)", syscall(SYS_ioctl, -1, (unsigned long)TIOCSTI | 1UL << 32, &key));
  MUST_BE_REFUSED("ioctl(TIOCLINUX | 1 << 32)", syscall(SYS_ioctl, -1, (unsigned long)TIOCLINUX | 1UL << 32, &key));
  return 0;
}
static int tioclinux(void) {
  char key = 2;
  MUST_BE_REFUSED("ioctl(TIOCLINUX)", syscall(SYS_ioctl, -1, (unsigned long)TIOCLINUX, &key));
  return 0;
}

/* other doors of the same kernel */

#ifdef __x86_64__
static volatile sig_atomic_t faulted;
static void fault(int signal) { faulted = signal; _exit(0); }

static int i386(void) {
  /* getpid by the old gate, in a child: where the kernel has none it is a fault */
  int state;
  pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, fault);
    signal(SIGILL, fault);
    signal(SIGSYS, fault);
    long result = 20;
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    _exit(result > 0 ? 1 : 0);
  }
  waitpid(child, &state, 0);
  if (WIFEXITED(state) && WEXITSTATUS(state) == 1) FAIL("system calls of i386 are answered");
  return 0;
}

static int x32(void) {
  long result = syscall(0x40000000 | SYS_getpid);
  if (result > 0) FAIL("system calls of x32 are answered");
  errno = 0;
  if (syscall(0x40000000 | 250 /* keyctl */, 0, -3, 0) != -1 || (errno != ENOSYS && errno != EPERM))
    FAIL("keyctl of x32 is let through (%s)", strerror(errno));
  return 0;
}
#else
static int i386(void) { return 0; }
static int x32(void) { return 0; }
#endif

static int unknown_calls(void) {
  errno = 0;
  if (syscall(1000) != -1 || errno != ENOSYS) FAIL("a call nobody knows says %s", strerror(errno));
  return 0;
}

/* what must go on working */

static int work(void) {
  int state, pair[2];
  pid_t child = fork();
  if (child == 0) _exit(unshare(CLONE_FILES | CLONE_FS) ? 1 : 7);
  waitpid(child, &state, 0);
  if (!WIFEXITED(state) || WEXITSTATUS(state) != 7) FAIL("a child does not end as it should");
  if (make_socket(AF_UNIX, SOCK_STREAM, 0) || make_socket(AF_INET, SOCK_STREAM, 0)) FAIL("no plain sockets");
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) FAIL("no socket pairs");
  close(pair[0]);
  close(pair[1]);
  if (mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) FAIL("no memory");
  int fd = open("/tmp/probe-work", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || write(fd, "x", 1) != 1) FAIL("/tmp can't be written");
  close(fd);
  unlink("/tmp/probe-work");
  return 0;
}

/* the second wall: what namespaces, mounts and filters leave, and Landlock does not; standard input is to be a file, read-only */

static int second_wall(void) {
  struct stat given;
  if (fstat(0, &given) || !S_ISREG(given.st_mode)) FAIL("standard input is no file");
  MUST_BE_REFUSED("writing to what was given for reading", open("/proc/self/fd/0", O_WRONLY | O_CLOEXEC));
  int again = open("/dev/stdin", O_RDONLY | O_CLOEXEC);
  if (again < 0) FAIL("what was given can't be read again (%s)", strerror(errno));
  close(again);
  return 0;
}

/* Those that are named are run only when they are asked for: not every kernel has what they look at. */
static const struct { const char *name; int (*probe)(void); int named; } PROBES[] = {
    {"descriptors", descriptors},
    {"host-files", host_files},
    {"kernel-settings", kernel_settings},
    {"masked-files", masked_files},
    {"masked-folders", masked_folders},
    {"kernel-log", kernel_log},
    {"executables", executables},
    {"other-processes", other_processes},
    {"init-memory", init_memory},
    {"init-environment", init_environment},
    {"environment", environment},
    {"capabilities", capabilities},
    {"no-new-privileges", no_new_privileges},
    {"filtered", filtered},
    {"setuid", set_ids},
    {"core-dumps", core_dumps},
    {"memory-score", memory_score},
    {"vsock", vsock},
    {"packet-sockets", packet_sockets},
    {"raw-sockets", raw_sockets},
    {"netlink", netlink},
    {"strange-sockets", strange_sockets},
    {"network", network},
    {"abstract-sockets", abstract_sockets},
    {"keyring", keyring},
    {"bpf", bpf},
    {"perf", perf},
    {"io-uring", io_uring},
    {"userfaultfd", userfault},
    {"handles", handles},
    {"modules", modules},
    {"machine", machine},
    {"personality", personality_bits},
    {"namespaces", namespaces},
    {"clone-namespaces", clone_namespaces},
    {"joining", joining},
    {"mounts", mounts},
    {"devices", devices},
    {"cgroups", cgroups},
    {"tiocsti", tiocsti},
    {"tiocsti-high", tiocsti_high},
    {"tioclinux", tioclinux},
    {"i386", i386},
    {"x32", x32},
    {"unknown-calls", unknown_calls},
    {"work", work},
    {"second-wall", second_wall, 1},
};

/* Root of the machine itself could do all of it, and harm the machine. */
static int in_the_open(void) {
  unsigned inside, outside, many;
  FILE *map = fopen("/proc/self/uid_map", "re");
  int read = map ? fscanf(map, "%u %u %u", &inside, &outside, &many) : 0;
  if (map) fclose(map);
  return geteuid() == 0 && read == 3 && outside == 0 && many > 1 && status("CapEff:", 16) != 0;
}

int main(int count, char **words) {
  int failed = 0;
  if (in_the_open()) {
    fputs("probe: not as root of the machine itself\n", stderr);
    return 2;
  }
  setvbuf(stdout, 0, _IOLBF, 0);
  for (size_t i = 0; i < sizeof PROBES / sizeof *PROBES; i++) {
    int wanted = count < 2 && !PROBES[i].named;
    for (int word = 1; word < count; word++) wanted |= !strcmp(words[word], PROBES[i].name);
    if (!wanted) continue;
    why[0] = 0;
    if (PROBES[i].probe()) {
      failed = 1;
      printf("fail %s: %s\n", PROBES[i].name, why);
    } else {
      printf("pass %s\n", PROBES[i].name);
    }
  }
  return failed;
}
