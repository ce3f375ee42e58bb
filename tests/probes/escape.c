/* Ways out of a box whose `allow` has `registry.example:443`, `*.example.org` and `localhost:OPEN`. Prints `pass NAME`, or
 * `fail NAME: why`, a line each, and exits 1 when anything failed.
 *
 * escape OPEN CLOSED ADDRESS ABSTRACT: a port of the host's loopback that is allowed, one that is not, another address of
 * the host, and the name of an abstract socket there. Whatever is reached answers with `reached`. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char why[512];
static int open_port, closed_port;
static const char *other_address, *abstract_name;

#define FAIL(...) do { snprintf(why, sizeof why, __VA_ARGS__); return 1; } while (0)

static socklen_t address(struct sockaddr_storage *at, const char *ip, int port) {
  memset(at, 0, sizeof *at);
  struct sockaddr_in *v4 = (void *)at;
  struct sockaddr_in6 *v6 = (void *)at;
  if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET, v4->sin_port = htons(port);
    return sizeof *v4;
  }
  if (inet_pton(AF_INET6, ip, &v6->sin6_addr) != 1) abort();
  v6->sin6_family = AF_INET6, v6->sin6_port = htons(port);
  return sizeof *v6;
}

static int open_to(const char *ip, int port, int type) {
  struct sockaddr_storage at;
  socklen_t length = address(&at, ip, port);
  int fd = socket(at.ss_family, type | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (void *)&at, length) == 0) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

/* What comes back within two seconds, at most `size`; -1 when nothing does. */
static int talk(int fd, const void *say, size_t length, void *heard, size_t size) {
  if (fd < 0) return -1;
  if (length && send(fd, say, length, MSG_NOSIGNAL) != (ssize_t)length) { close(fd); return -1; }
  struct pollfd wait = {fd, POLLIN, 0};
  int got = poll(&wait, 1, 2000) == 1 ? recv(fd, heard, size, 0) : -1;
  close(fd);
  return got > 0 ? got : -1;
}

static int reached(int fd, const void *say, size_t length) {
  char heard[64] = "";
  return talk(fd, say, length, heard, sizeof heard - 1) > 0 && !strncmp(heard, "reached", 7);
}

static const char GET[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#define NOT(ip, port) do { if (reached(open_to(ip, port, SOCK_STREAM), GET, sizeof GET - 1)) \
    FAIL("%s port %d is reached", ip, port); } while (0)

/* names */

static size_t query(unsigned char *message, const char *labels, size_t length, int kind, int class) {
  const unsigned char head[] = {1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
  memcpy(message, head, 12);
  memcpy(message + 12, labels, length);
  unsigned char tail[] = {kind >> 8, kind, class >> 8, class};
  memcpy(message + 12 + length, tail, 4);
  return 16 + length;
}

/* Labels of a dotted name, with the last, empty one. */
static size_t labels(char *to, const char *name) {
  size_t at = 0;
  while (*name) {
    size_t length = strcspn(name, ".");
    to[at++] = length;
    memcpy(to + at, name, length);
    at += length, name += length + (name[length] == '.');
  }
  to[at++] = 0;
  return at;
}

/* Number of answers to a question, or minus the error code of the reply; -100 for silence. */
static int ask_at(const char *server, const char *name, size_t length, int kind, char *ip) {
  unsigned char message[600], answer[1500];
  size_t size = query(message, name, length, kind, 1);
  int got = talk(open_to(server, 53, SOCK_DGRAM), message, size, answer, sizeof answer);
  if (got < 12) return -100;
  if (answer[3] & 15) return -(answer[3] & 15);
  if (ip && answer[7]) inet_ntop(AF_INET, answer + got - 4, ip, INET_ADDRSTRLEN);
  return answer[6] << 8 | answer[7];
}

static int ask(const char *name, int kind, char *ip) {
  char wire[300];
  return ask_at("127.0.0.1", wire, labels(wire, name), kind, ip);
}

static size_t hello(unsigned char *to, const char *name) {
  unsigned char body[300] = {3, 3};
  size_t at = 34;
  const unsigned char suites[] = {0, 0, 2, 0x13, 1, 1, 0};
  memcpy(body + at, suites, sizeof suites);
  at += sizeof suites;
  size_t n = name ? strlen(name) : 0;
  if (name) {
    const unsigned char extension[] = {0, n + 9, 0, 0, 0, n + 5, 0, n + 3, 0, 0, n};
    memcpy(body + at, extension, sizeof extension);
    memcpy(body + at + sizeof extension, name, n);
    at += sizeof extension + n;
  } else {
    const unsigned char extension[] = {0, 7, 0, 43, 0, 3, 2, 3, 4};
    memcpy(body + at, extension, sizeof extension);
    at += sizeof extension;
  }
  const unsigned char head[] = {22, 3, 1, (at + 4) >> 8, at + 4, 1, 0, at >> 8, at};
  memcpy(to, head, sizeof head);
  memcpy(to + sizeof head, body, at);
  return sizeof head + at;
}

static int says_hello(const char *host, int port, const char *name) {
  char ip[64];
  unsigned char message[600];
  if (ask(host, 1, ip) != 1) return -1;
  return reached(open_to(ip, port, SOCK_STREAM), message, hello(message, name));
}

/* what is allowed works */

static int allowed_name(void) {
  if (says_hello("registry.example", 443, "registry.example") != 1) FAIL("registry.example is not reached");
  if (says_hello("REGISTRY.Example", 443, "Registry.EXAMPLE") != 1) FAIL("letters in capitals make a difference");
  return 0;
}

static int allowed_wildcard(void) {
  if (says_hello("a.example.org", 443, "a.example.org") != 1) FAIL("a.example.org is not reached");
  if (says_hello("a.b.example.org", 443, "a.b.example.org") != 1) FAIL("a.b.example.org is not reached");
  char ip[64];
  if (ask("c.example.org", 1, ip) != 1) FAIL("c.example.org has no address");
  if (!reached(open_to(ip, 80, SOCK_STREAM), GET, sizeof GET - 1)) FAIL("port 80 of c.example.org is not reached");
  return 0;
}

static int allowed_port_of_the_host(void) {
  const char *ways[] = {"127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
    if (!reached(open_to(ways[i], open_port, SOCK_STREAM), GET, sizeof GET - 1)) FAIL("%s is not reached", ways[i]);
  return 0;
}

/* everything else does not */

static int raw_addresses(void) {
  const char *ways[] = {"192.0.2.1", "8.8.8.8", "10.0.0.1", "169.254.169.254", "198.18.0.1", "198.19.255.255", "2001:db8::1",
                        "fd00:ec2::254", "::ffff:192.0.2.1"};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
    for (int port = 80; port <= 443; port += 363) NOT(ways[i], port);
  return 0;
}

static int other_ports(void) {
  char ip[64];
  if (ask("registry.example", 1, ip) != 1) FAIL("registry.example has no address");
  NOT(ip, 80);
  NOT(ip, 22);
  NOT(ip, open_port);
  NOT(ip, closed_port);
  return 0;
}

static int loopback_of_the_host(void) {
  const char *ways[] = {"127.0.0.1", "127.0.0.2", "127.0.1.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "10.0.2.2", "169.254.1.1"};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) NOT(ways[i], closed_port);
  NOT("127.0.0.2", open_port);
  NOT("::ffff:127.0.0.2", open_port);
  return 0;
}

static int other_address_of_the_host(void) {
  NOT(other_address, closed_port);
  NOT(other_address, open_port);
  return 0;
}

static int abstract_socket(void) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  strncpy(at.sun_path + 1, abstract_name, sizeof at.sun_path - 2);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, (void *)&at, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract_name)) == 0)
    FAIL("an abstract socket of the host is reached");
  close(fd);
  return 0;
}

static int other_names(void) {
  const char *names[] = {"evil.example", "example", "registry.example.evil.example", "a.registry.example", "example.org",
                         "evilexample.org", "a.example.org.evil.example", "org", "localhost.evil.example", "_x._tcp.evil.example",
                         "metadata.google.internal", "127.0.0.1", "1.0.0.127.in-addr.arpa"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    for (int kind = 1; kind <= 28; kind += 27)
      if (ask(names[i], kind, NULL) != -3) FAIL("%s is answered", names[i]);
  return 0;
}

static int odd_names(void) {
  const struct { const char *wire; size_t length; } names[] = {
      {"\x10registry.example", 18},               /* a dot within a label */
      {"\x0aregistry\0x\7example", 20},           /* NUL */
      {"\x09registry\xfc\7example", 19},
      {"\x0bxn--bcher.x\7example", 21},
      {"\1*\7example\3org", 15},
      {"", 1},
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    int got = ask_at("127.0.0.1", names[i].wire, names[i].length, 1, NULL);
    if (got >= 0) FAIL("name %zu is answered", i);
  }
  return 0;
}

static int other_records(void) {
  const int kinds[] = {2, 5, 6, 10, 12, 15, 16, 28, 33, 43, 64, 65, 252, 255};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (ask("registry.example", kinds[i], NULL) > 0) FAIL("there are records of type %d", kinds[i]);
  return 0;
}

/* What a name carries out must not get further than the gate: the wildcard's own names are answered without a question. */
static int names_as_a_tunnel(void) {
  char name[256], label[61];
  memset(label, 'a', 60), label[60] = 0;
  snprintf(name, sizeof name, "%s.%s.%s.evil.example", label, label, label);
  if (ask(name, 16, NULL) != -3) FAIL("a long name is answered");
  return 0;
}

static int other_resolvers(void) {
  const char *servers[] = {"8.8.8.8", "192.0.2.1", "10.0.2.3", "127.0.0.53"};
  unsigned char message[602], answer[512];
  char wire[300];
  size_t length = labels(wire, "evil.example");
  for (size_t i = 0; i < sizeof servers / sizeof *servers; i++) {
    if (ask_at(servers[i], wire, length, 1, NULL) >= 0) FAIL("%s answers", servers[i]);
    size_t size = query(message + 2, wire, length, 1, 1);
    message[0] = size >> 8, message[1] = size;
    int got = talk(open_to(servers[i], 53, SOCK_STREAM), message, size + 2, answer, sizeof answer);
    if (got > 0) FAIL("%s answers by TCP", servers[i]);
  }
  size_t size = query(message + 2, wire, length, 1, 1);
  message[0] = size >> 8, message[1] = size;
  int got = talk(open_to("127.0.0.1", 53, SOCK_STREAM), message, size + 2, answer, sizeof answer);
  if (got < 14 || (answer[5] & 15) != 3) FAIL("the resolver does not say no by TCP");
  return 0;
}

static int not_a_query(void) {
  unsigned char noise[1400];
  for (size_t size = 0; size < sizeof noise; size += 7) {
    for (size_t i = 0; i < size; i++) noise[i] = rand();
    int fd = open_to("127.0.0.1", 53, SOCK_DGRAM);
    if (fd >= 0) { send(fd, noise, size, MSG_NOSIGNAL); close(fd); }
  }
  char ip[64];
  if (ask("registry.example", 1, ip) != 1) FAIL("the resolver does not answer any more");
  return 0;
}

static int other_hello(void) {
  const char *names[] = {"evil.example", "registry.example.evil.example", "a.example.org", "registry.exampl", NULL};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (says_hello("registry.example", 443, names[i]) != 0) FAIL("a hello for %s is let through", names[i] ? names[i] : "nobody");
  if (says_hello("c.example.org", 80, "evil.example") != 0) FAIL("a hello on another port is not looked at");
  return 0;
}

static int no_hello(void) {
  const char *words[] = {"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n", "GET http://evil.example/ HTTP/1.1\r\n\r\n",
                         "SSH-2.0-x\r\n", "\x16\x03\x01\x00\x01\x02", "\x80\x2e\x01\x03\x01"};
  char ip[64];
  if (ask("registry.example", 1, ip) != 1) FAIL("registry.example has no address");
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (reached(open_to(ip, 443, SOCK_STREAM), words[i], strlen(words[i]) + 1)) FAIL("`%.10s` is let through", words[i]);
  return 0;
}

static int datagrams(void) {
  char ip[64];
  if (ask("registry.example", 1, ip) != 1) FAIL("registry.example has no address");
  const char *ways[] = {ip, "192.0.2.1", "8.8.8.8", other_address, "127.0.0.1"};
  const int ports[] = {443, 123, closed_port};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
    for (size_t j = 0; j < 3; j++)
      if (reached(open_to(ways[i], ports[j], SOCK_DGRAM), "x", 1)) FAIL("%s answers to a datagram", ways[i]);
  return 0;
}

static int other_families(void) {
  struct { unsigned short family, reserved; unsigned port, cid, zero; } vsock = {AF_VSOCK, 0, closed_port, 2, 0};
  int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (void *)&vsock, sizeof vsock) == 0) FAIL("the host is reached by AF_VSOCK");
  if (fd >= 0) close(fd);
  fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP);
  if (fd >= 0) {
    struct sockaddr_storage at;
    socklen_t length = address(&at, "192.0.2.1", 443);
    if (connect(fd, (void *)&at, length) == 0) FAIL("SCTP connects");
    close(fd);
  }
  return 0;
}

static const struct { const char *name; int (*probe)(void); } PROBES[] = {
    {"allowed-name", allowed_name},
    {"allowed-wildcard", allowed_wildcard},
    {"allowed-port-of-the-host", allowed_port_of_the_host},
    {"raw-addresses", raw_addresses},
    {"other-ports", other_ports},
    {"loopback-of-the-host", loopback_of_the_host},
    {"other-address-of-the-host", other_address_of_the_host},
    {"abstract-socket", abstract_socket},
    {"other-names", other_names},
    {"odd-names", odd_names},
    {"other-records", other_records},
    {"names-as-a-tunnel", names_as_a_tunnel},
    {"other-resolvers", other_resolvers},
    {"not-a-query", not_a_query},
    {"other-hello", other_hello},
    {"no-hello", no_hello},
    {"datagrams", datagrams},
    {"other-families", other_families},
};

int main(int argc, char **argv) {
  if (argc != 5) { fprintf(stderr, "usage: escape OPEN CLOSED ADDRESS ABSTRACT\n"); return 2; }
  open_port = atoi(argv[1]), closed_port = atoi(argv[2]);
  other_address = argv[3], abstract_name = argv[4];
  setvbuf(stdout, NULL, _IOLBF, 0);
  int failed = 0;
  for (size_t i = 0; i < sizeof PROBES / sizeof *PROBES; i++) {
    if (PROBES[i].probe()) {
      printf("fail %s: %s\n", PROBES[i].name, why);
      failed = 1;
    } else
      printf("pass %s\n", PROBES[i].name);
  }
  return failed;
}
