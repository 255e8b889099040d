/* The benchmark's load generator and its backends: one thread, one epoll, no dependencies.
 *
 * Backends print `ready PORT` and serve until their standard input ends:
 *   echo      sends back what it receives
 *   source    sends without end
 *   sink      receives and discards
 *
 * Clients print `begin` and `end` around the measured window (the caller reads the proxy's CPU time
 * at these lines), then one line of JSON, and only then close their connections:
 *   pingpong  closed loop: each connection sends the next message as soon as it has received the last one
 *   paced     fixed schedule: each connection sends every --period-us, evenly staggered, so that no
 *             queue forms and a round trip shows only the delay of the path
 *   bulk      streams from a source, or with --upload into a sink
 *   connect   connect, send and receive one byte, close; --connections of them at a time
 *   idle      opens connections, prints its JSON, and holds them until standard input ends; with --fields each
 *             carries an HTTP request and its response first
 *   request   closed loop of HTTP requests with --fields fields, to a server whose responses all have one length;
 *             with --serial one more field makes each request unique
 *
 * Every command also ends by itself: clients by an alarm, and all commands when the parent dies.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 512, BUFFER = 256 * 1024, SOURCES = 32, BACKEND_LIFE_S = 3600, CLIENT_GRACE_S = 30 };
static const int64_t SECOND = 1000000000, MILLISECOND = 1000000, MICROSECOND = 1000;

static struct {
    struct sockaddr_in target;
    int connections, size, fields; /* fields: header fields of each HTTP request; negative: plain TCP */
    double seconds, warmup;
    int64_t period_us, below_us;
    bool upload, serial;
} opt = {.connections = 1, .size = 64, .seconds = 1, .warmup = 0.2, .period_us = 10000, .fields = -1};

struct conn {
    int fd;
    int missing;     /* bytes of the current message not yet received; 0: no message */
    int64_t sent_at; /* ns */
    int64_t bytes;   /* bulk: carried within the window */
};

static char buffer[BUFFER];
static struct epoll_event events[BATCH];

/* ---- small tools ---- */

static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(1);
}

static int checked(int result, const char *what) {
    if (result < 0) die("%s: %s", what, strerror(errno));
    return result;
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void say(const char *line) {
    puts(line);
    fflush(stdout);
}

static void watch(int epoll, int fd, uint32_t what, void *data) {
    struct epoll_event event = {.events = what, .data.ptr = data};
    checked(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

/* Wait for events until `deadline` at most. */
static int wait_events(int epoll, int64_t deadline) {
    int64_t left = deadline - now();
    if (left < 0) left = 0;
    struct timespec timeout = {left / SECOND, left % SECOND};
    int n = epoll_pwait2(epoll, events, BATCH, &timeout, NULL);
    return n < 0 && errno == EINTR ? 0 : checked(n, "epoll_pwait2");
}

/* ---- the measured window: --seconds long, counted from when it really opened ---- */

static struct {
    int64_t warm, begin, end; /* begin is 0 until the warm-up is over */
} window;

static void plan_window(void) {
    window.warm = now() + (int64_t)(opt.warmup * 1e9);
    window.end = INT64_MAX;
}

static void open_window(int64_t t) {
    window.begin = t;
    window.end = t + (int64_t)(opt.seconds * 1e9);
    say("begin");
}

/* False when the time is over. */
static bool in_time(void) {
    int64_t t = now();
    if (!window.begin && t >= window.warm) open_window(t);
    return t < window.end;
}

/* The time of the next change of the window. */
static int64_t next_look(void) { return window.begin ? window.end : window.warm; }

/* Seconds that the window was open. */
static double close_window(void) {
    double seconds = (double)(now() - window.begin) / 1e9;
    say("end");
    return seconds;
}

/* ---- samples: round trips of the window, in nanoseconds ---- */

static struct {
    int64_t *values;
    size_t count, room;
} samples;

static void record(int64_t value) {
    if (samples.count == samples.room) {
        samples.room = samples.room ? 2 * samples.room : 1 << 20;
        samples.values = realloc(samples.values, samples.room * sizeof *samples.values);
        if (!samples.values) die("out of memory");
    }
    samples.values[samples.count++] = value;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Nearest rank: the smallest sample that at least `share` of all samples do not exceed. */
static double percentile_us(double share) {
    double position = share * (double)samples.count;
    size_t rank = (size_t)position;
    if ((double)rank < position) rank++;
    return (double)samples.values[rank ? rank - 1 : 0] / 1e3;
}

static void print_samples(double seconds) {
    if (!samples.count) die("no response arrived within the window");
    qsort(samples.values, samples.count, sizeof *samples.values, ascending);
    size_t below = 0;
    while (below < samples.count && samples.values[below] < opt.below_us * MICROSECOND) below++;
    printf("\"count\": %zu, \"seconds\": %.6f, \"rate\": %.1f, \"min_us\": %.1f, \"p50_us\": %.1f, "
           "\"p99_us\": %.1f, \"max_us\": %.1f, \"below\": %zu",
           samples.count, seconds, (double)samples.count / seconds, percentile_us(0), percentile_us(0.5),
           percentile_us(0.99), percentile_us(1), below);
}

/* ---- backends ---- */

/* Each serves one readable or writable connection and says whether it stays open. */

static bool serve_echo(int fd) {
    ssize_t got = recv(fd, buffer, BUFFER, MSG_DONTWAIT);
    if (got < 0) return errno == EAGAIN;
    return got > 0 && send(fd, buffer, (size_t)got, MSG_NOSIGNAL) == got;
}

static bool serve_source(int fd) {
    return send(fd, buffer, BUFFER, MSG_DONTWAIT | MSG_NOSIGNAL) > 0 || errno == EAGAIN;
}

static bool serve_sink(int fd) {
    /* MSG_TRUNC discards in the kernel, so that the load's core does not limit a stream. */
    ssize_t got = recv(fd, buffer, BUFFER, MSG_DONTWAIT | MSG_TRUNC);
    return got > 0 || (got < 0 && errno == EAGAIN);
}

static int listen_anywhere(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = checked(socket(AF_INET, SOCK_STREAM, 0), "socket");
    checked(bind(fd, (struct sockaddr *)&address, length), "bind");
    checked(listen(fd, 4096), "listen");
    checked(getsockname(fd, (struct sockaddr *)&address, &length), "getsockname");
    printf("ready %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void backend(bool (*serve)(int fd), uint32_t interest) {
    alarm(BACKEND_LIFE_S);
    int epoll = checked(epoll_create1(0), "epoll_create1"), listener = listen_anywhere(), on = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    checked(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event), "epoll_ctl");
    event.data.fd = STDIN_FILENO;
    checked(epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event), "epoll_ctl: standard input must be a pipe");
    for (;;) {
        int n = wait_events(epoll, now() + BACKEND_LIFE_S * SECOND);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO) {
                if (read(fd, buffer, BUFFER) <= 0) return;
            } else if (fd == listener) {
                event.data.fd = checked(accept(listener, NULL, NULL), "accept");
                event.events = interest;
                setsockopt(event.data.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                checked(epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event), "epoll_ctl");
            } else if ((events[i].events & (EPOLLERR | EPOLLHUP)) || !serve(fd)) {
                close(fd);
            }
        }
    }
}

static void echo(void) { backend(serve_echo, EPOLLIN); }
static void source(void) { backend(serve_source, EPOLLOUT); }
static void sink(void) { backend(serve_sink, EPOLLIN); }

/* ---- clients ---- */

/* One source address has 28 000 ports, and a closed one is blocked for a minute. So clients use several
 * addresses from 127.0.0.2 up. They close in the ordinary way (a FIN), which is the same for every proxy. */
static int dial(int ordinal) {
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(ordinal % SOURCES));
    int fd = checked(socket(AF_INET, SOCK_STREAM, 0), "socket"), on = 1;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    checked(bind(fd, (struct sockaddr *)&from, sizeof from), "bind");
    checked(connect(fd, (struct sockaddr *)&opt.target, sizeof opt.target), "connect");
    return fd;
}

static struct conn *dial_all(int epoll, uint32_t interest) {
    struct conn *conns = calloc((size_t)opt.connections, sizeof *conns);
    if (!conns) die("out of memory");
    for (int i = 0; i < opt.connections; i++) {
        conns[i].fd = dial(i);
        watch(epoll, conns[i].fd, interest, &conns[i]);
    }
    return conns;
}

static void send_message(struct conn *c) {
    c->missing = opt.size;
    c->sent_at = now();
    if (send(c->fd, buffer, (size_t)opt.size, MSG_NOSIGNAL) != opt.size) die("send: %s", strerror(errno));
}

/* True when the whole message has been received. */
static bool receive_message(struct conn *c) {
    ssize_t got = recv(c->fd, buffer, (size_t)opt.size, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return false;
    if (got <= 0) die("the connection was closed before its response: %s", got ? strerror(errno) : "end of stream");
    if (got > c->missing) die("more bytes came back than were sent");
    c->missing -= (int)got;
    return c->missing == 0;
}

/* Each connection sends its next message as soon as it has received the last one. */
static void closed_loop(void (*send_one)(struct conn *)) {
    int epoll = checked(epoll_create1(0), "epoll_create1");
    struct conn *conns = dial_all(epoll, EPOLLIN);
    for (int i = 0; i < opt.connections; i++) send_one(&conns[i]);

    plan_window();
    while (in_time()) {
        int n = wait_events(epoll, next_look());
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!receive_message(c)) continue;
            if (window.begin) record(now() - c->sent_at);
            send_one(c);
        }
    }
    double seconds = close_window();
    printf("{");
    print_samples(seconds);
    say("}");
}

static void pingpong(void) { closed_loop(send_message); }

/* The request, and the length of every response to it, which is that of the first one. */
static struct {
    char text[4096];
    int length, response;
    char *serial; /* eight digits of the text that count requests, or NULL */
} http;

static int length_of_response(const char *text, int got) {
    const char *body = memmem(text, (size_t)got, "\r\n\r\n", 4), *size = strcasestr(text, "\r\ncontent-length:");
    if (!body || !size) die("the response has no head, or no Content-Length");
    return (int)(body + 4 - text) + atoi(size + strlen("\r\ncontent-length:"));
}

static void plan_request(void) {
    int n = snprintf(http.text, sizeof http.text, "GET /bench HTTP/1.1\r\nHost: bench.example\r\n");
    for (int i = 1; i < opt.fields; i++)
        n += snprintf(http.text + n, sizeof http.text - (size_t)n, "X-Field-%02d: the value of this field\r\n", i);
    if (opt.serial) {
        n += snprintf(http.text + n, sizeof http.text - (size_t)n, "X-Request-Id: 00000000\r\n");
        http.serial = http.text + n - strlen("00000000\r\n");
    }
    n += snprintf(http.text + n, sizeof http.text - (size_t)n, "\r\n");
    if (n >= (int)sizeof http.text) die("too many fields");
    http.length = n;
    int fd = dial(0), got = 0;
    if (send(fd, http.text, (size_t)n, MSG_NOSIGNAL) != n) die("send: %s", strerror(errno));
    do {
        ssize_t more = recv(fd, buffer + got, BUFFER - 1 - (size_t)got, 0);
        if (more <= 0) die("no response to a request: %s", more ? strerror(errno) : "end of stream");
        buffer[got += (int)more] = 0;
        http.response = strstr(buffer, "\r\n\r\n") ? length_of_response(buffer, got) : 0;
    } while (got < http.response || !http.response);
    close(fd);
    opt.size = http.response; /* for receive_message */
}

static void send_request(struct conn *c) {
    if (http.serial)
        for (int i = 7; i >= 0; i--) {
            if (http.serial[i]++ < '9') break;
            http.serial[i] = '0';
        }
    c->missing = http.response;
    c->sent_at = now();
    if (send(c->fd, http.text, (size_t)http.length, MSG_NOSIGNAL) != http.length) die("send: %s", strerror(errno));
}

static void request(void) {
    plan_request();
    closed_loop(send_request);
}

static void paced(void) {
    int epoll = checked(epoll_create1(0), "epoll_create1");
    struct conn *conns = dial_all(epoll, EPOLLIN);
    int64_t slot = opt.period_us * MICROSECOND / opt.connections, next = now();
    unsigned turn = 0, skipped = 0;

    plan_window();
    while (in_time()) {
        int64_t t = now();
        if (t - next > MILLISECOND) next = t; /* this program is late: send no burst to catch up */
        for (; next <= t; next += slot) {
            struct conn *c = &conns[turn++ % (unsigned)opt.connections];
            if (!c->missing) send_message(c);
            else if (window.begin) skipped++;
        }
        int n = wait_events(epoll, next < next_look() ? next : next_look());
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!receive_message(c)) continue;
            if (window.begin) record(now() - c->sent_at);
        }
    }
    double seconds = close_window();
    printf("{");
    print_samples(seconds);
    printf(", \"skipped\": %u", skipped);
    say("}");
}

/* The window opens with the first transfer after the warm-up, which is not counted, and closes with
 * the last, which is. So the counted bytes are those that arrived in the time between. With a source of
 * known rate this is accurate to 0.1 % if a rate limiter sends chunks of at most 64 KiB. A larger chunk
 * arrives in several transfers, and the rest of the chunk that opens the window is then counted too:
 * with chunks of 256 KiB the error was up to 2.3 % at 1 MB/s over 3 s. */
static void bulk(void) {
    int epoll = checked(epoll_create1(0), "epoll_create1");
    struct conn *conns = dial_all(epoll, opt.upload ? EPOLLOUT : EPOLLIN);
    int64_t last = 0, total = 0, patience;

    plan_window();
    patience = window.warm + (int64_t)(opt.seconds * 1e9); /* for the transfer that opens the window */
    while (now() < (window.begin ? window.end : patience)) {
        int n = wait_events(epoll, window.begin ? window.end : patience);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            ssize_t moved = opt.upload ? send(c->fd, buffer, BUFFER, MSG_DONTWAIT | MSG_NOSIGNAL)
                                       : recv(c->fd, buffer, BUFFER, MSG_DONTWAIT | MSG_TRUNC);
            if (moved < 0 && errno == EAGAIN) continue;
            if (moved <= 0) die("a stream ended early: %s", moved ? strerror(errno) : "end of stream");
            last = now();
            if (window.begin) c->bytes += moved;
            else if (last >= window.warm) open_window(last);
        }
    }
    if (!window.begin || last <= window.begin) die("no data arrived");
    close_window();
    double seconds = (double)(last - window.begin) / 1e9;
    printf("{\"streams\": [");
    for (int i = 0; i < opt.connections; i++) {
        printf("%s%.1f", i ? ", " : "", (double)conns[i].bytes / seconds);
        total += conns[i].bytes;
    }
    printf("], \"bytes\": %lld, \"seconds\": %.6f, \"rate\": %.1f", (long long)total, seconds, (double)total / seconds);
    say("}");
}

static void connect_(void) {
    int epoll = checked(epoll_create1(0), "epoll_create1"), ordinal = 0, failed = 0;
    struct conn *conns = calloc((size_t)opt.connections, sizeof *conns);
    if (!conns) die("out of memory");
    opt.size = 1;
    for (int i = 0; i < opt.connections; i++) {
        conns[i].fd = dial(ordinal++);
        watch(epoll, conns[i].fd, EPOLLIN, &conns[i]);
        send_message(&conns[i]);
    }
    plan_window();
    while (in_time()) {
        int n = wait_events(epoll, next_look());
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            ssize_t got = recv(c->fd, buffer, 1, MSG_DONTWAIT);
            if (got < 0 && errno == EAGAIN) continue;
            if (got == 1 && window.begin) record(now() - c->sent_at);
            if (got != 1 && window.begin) failed++;
            close(c->fd);
            int64_t dialled = now();
            c->fd = dial(ordinal++);
            watch(epoll, c->fd, EPOLLIN, c);
            send_message(c);
            c->sent_at = dialled; /* here a round trip begins with the connect */
        }
    }
    double seconds = close_window();
    printf("{");
    print_samples(seconds);
    printf(", \"failed\": %d", failed);
    say("}");
}

static void idle(void) {
    if (opt.fields > 0) plan_request();
    else opt.size = 1;
    for (int i = 0; i < opt.connections; i++) {
        struct conn c = {.fd = dial(i)};
        opt.fields > 0 ? send_request(&c) : send_message(&c);
        /* One byte, or one request, and its reply: the proxy has connected to its upstream and carried data. */
        if (recv(c.fd, buffer, (size_t)opt.size, MSG_WAITALL) != opt.size)
            die("connection %d of %d received no response", i + 1, opt.connections);
    }
    printf("{\"connections\": %d", opt.connections);
    say("}");
    while (read(STDIN_FILENO, buffer, BUFFER) > 0) continue;
}

/* ---- command line ---- */

static const struct {
    const char *name;
    void (*run)(void);
    bool is_client;
} COMMANDS[] = {{"echo", echo, false},      {"source", source, false}, {"sink", sink, false},
                {"pingpong", pingpong, true}, {"paced", paced, true},    {"bulk", bulk, true},
                {"connect", connect_, true},  {"idle", idle, true},
                {"request", request, true}};
enum { COMMAND_COUNT = sizeof COMMANDS / sizeof *COMMANDS };

static void usage(void) {
    fputs("usage: load echo|source|sink\n"
          "       load pingpong|paced|bulk|connect|idle|request --port N [--connections N] [--size BYTES]\n"
          "            [--seconds S] [--warmup S] [--period-us N] [--below-us N] [--upload] [--fields N] [--serial]\n", stderr);
    exit(2);
}

static double number(const char *text, double least, double most) {
    char *rest;
    double value = strtod(text, &rest);
    if (*rest || rest == text || !(value >= least && value <= most)) {
        fprintf(stderr, "load: \"%s\" is not a number from %g to %g\n", text, least, most);
        exit(2);
    }
    return value;
}

static void parse(int argc, char **argv) {
    static const struct option OPTIONS[] = {
        {"port", 1, 0, 'p'},   {"connections", 1, 0, 'c'}, {"size", 1, 0, 'n'},     {"seconds", 1, 0, 's'},
        {"warmup", 1, 0, 'w'}, {"period-us", 1, 0, 'i'},   {"below-us", 1, 0, 'b'}, {"upload", 0, 0, 'u'},
        {"fields", 1, 0, 'f'}, {"serial", 0, 0, 'r'}, {0}};
    opt.target.sin_family = AF_INET;
    opt.target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int c; (c = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        switch (c) {
        case 'p': opt.target.sin_port = htons((uint16_t)number(optarg, 1, 65535)); break;
        case 'c': opt.connections = (int)number(optarg, 1, 100000); break;
        case 'n': opt.size = (int)number(optarg, 1, BUFFER); break;
        case 's': opt.seconds = number(optarg, 0.01, 600); break;
        case 'w': opt.warmup = number(optarg, 0, 60); break;
        case 'i': opt.period_us = (int64_t)number(optarg, 1, 1e9); break;
        case 'b': opt.below_us = (int64_t)number(optarg, 0, 1e9); break;
        case 'f': opt.fields = (int)number(optarg, 1, 100); break;
        case 'u': opt.upload = true; break;
        case 'r': opt.serial = true; break;
        default: usage();
        }
    }
    if (optind != argc) usage();
}

int main(int argc, char **argv) {
    if (argc < 2) usage();
    struct rlimit files;
    checked(getrlimit(RLIMIT_NOFILE, &files), "getrlimit");
    files.rlim_cur = files.rlim_max;
    checked(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1); /* ns: paced messages leave on time */

    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[1], COMMANDS[i].name)) continue;
        parse(argc - 1, argv + 1);
        if (COMMANDS[i].is_client) {
            if (!opt.target.sin_port) usage();
            if (COMMANDS[i].run == idle) opt.seconds = BACKEND_LIFE_S;
            alarm((unsigned)(opt.warmup + opt.seconds) + CLIENT_GRACE_S);
        }
        COMMANDS[i].run();
        return 0;
    }
    usage();
}
