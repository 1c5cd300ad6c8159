/* An OpenFlow 1.3 switch without a datapath: what a controller sends is held, counted and timed.
 *
 *   fakeswitch DATAPATH_ID ADDRESSES
 *
 * DATAPATH_ID: decimal. ADDRESSES: IPv4 addresses, four octets each, one after the other: the
 * destination EIDs of the packets that miss. Ports are 1 "blue1" and 100 "lisp0". Commands on
 * standard input, one line of answer for each on standard output:
 *
 * connect PORT                       TCP to 127.0.0.1, until a second passed without a message:
 *                                    seconds_to_reconciled flow_adds flow_deletes flows_held
 *                                    Reconciled: flows, groups and meters were told, and the first
 *                                    modification or packet-out came.
 * setups SECONDS WINDOW RATE COUNT   packet-ins of table 4, each for another destination, until
 *                                    SECONDS or COUNT is over; at most WINDOW of them unanswered,
 *                                    and at most RATE a second (0: as fast as they are answered).
 *                                    A packet-out with the frame is the answer:
 *                                    sent answered lost seconds p50_us p99_us flow_adds flows_held
 * disconnect                         what is held stays: flows_held
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    HELLO = 0, ECHO_REQUEST = 2, ECHO_REPLY = 3, FEATURES_REQUEST = 5, FEATURES_REPLY = 6,
    PACKET_IN = 10, PACKET_OUT = 13, FLOW_MOD = 14, GROUP_MOD = 15, MULTIPART_REQUEST = 18,
    MULTIPART_REPLY = 19, BARRIER_REQUEST = 20, BARRIER_REPLY = 21, METER_MOD = 29
};
enum { STATS_FLOW = 1, STATS_GROUP_DESC = 7, STATS_METER_CONFIG = 10, STATS_PORT_DESC = 13 };

#define HEAD 8
#define MAX_BODY 60000
#define READ_ROOM (1 << 18)
#define BUCKETS 2000000 /* microseconds */
#define SECOND 1000000000L
#define MISS_COOKIE 0x4c53010000000006ull
#define MISS_TABLE 4
#define EID_PORT 1
#define TUNNEL_PORT 100
#define INSTANCE_ID 42
#define HOSTS 16 /* source EIDs 10.1.0.1 and following */
#define MARK 0x5345545550532121ull
#define FRAME 90
#define MARK_AT 42

struct octets { unsigned char *data; size_t start, end, room; };

/* A flow, group or meter as its description, found by the octets that identify it. */
struct held { unsigned char *entry, *key; size_t length, key_length; };
struct table { struct held *items; size_t count, room; uint32_t *index, slots; };

static struct octets in, out;
static struct table flows, groups, meters;
static int sock = -1, reads;
static uint64_t datapath_id, connected, reconciled, last_message;
static uint64_t flow_adds, flow_deletes, answered, in_flight, heard, began, ends;
static unsigned histogram[BUCKETS];
static uint32_t *addresses;
static size_t address_count, next_address;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + t.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *grown(void *data, size_t size)
{
    data = realloc(data, size);
    if (!data)
        die("realloc");
    return data;
}

static void put16(unsigned char *at, uint16_t value) { value = htons(value); memcpy(at, &value, 2); }
static void put32(unsigned char *at, uint32_t value) { value = htonl(value); memcpy(at, &value, 4); }
static void put64(unsigned char *at, uint64_t value) { value = htobe64(value); memcpy(at, &value, 8); }
static uint16_t get16(const unsigned char *at) { uint16_t v; memcpy(&v, at, 2); return ntohs(v); }
static uint32_t get32(const unsigned char *at) { uint32_t v; memcpy(&v, at, 4); return ntohl(v); }
static uint64_t get64(const unsigned char *at) { uint64_t v; memcpy(&v, at, 8); return be64toh(v); }

/* Room for a message in what is to be sent; its header is filled in. */
static unsigned char *message(int type, size_t length, uint32_t xid)
{
    if (out.end + length > out.room) {
        memmove(out.data, out.data + out.start, out.end - out.start);
        out.end -= out.start;
        out.start = 0;
        if (out.end + length > out.room) {
            out.room = 2 * (out.end + length);
            out.data = grown(out.data, out.room);
        }
    }
    unsigned char *at = out.data + out.end;
    memset(at, 0, length);
    at[0] = 4;
    at[1] = type;
    put16(at + 2, length);
    put32(at + 4, xid);
    out.end += length;
    return at;
}

/* --- what is held --- */

static uint32_t hash(const unsigned char *data, size_t length)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < length; i++)
        h = (h ^ data[i]) * 16777619u;
    return h ^ h >> 15;
}

static uint32_t *slot_of(struct table *t, const unsigned char *key, size_t length)
{
    uint32_t at = hash(key, length) & (t->slots - 1);
    for (; t->index[at]; at = (at + 1) & (t->slots - 1)) {
        struct held *item = &t->items[t->index[at] - 1];
        if (item->key_length == length && !memcmp(item->key, key, length))
            break;
    }
    return &t->index[at];
}

static void more_slots(struct table *t)
{
    t->slots = t->slots ? 2 * t->slots : 1024;
    free(t->index);
    t->index = calloc(t->slots, sizeof *t->index);
    if (!t->index)
        die("calloc");
    for (size_t i = 0; i < t->count; i++)
        *slot_of(t, t->items[i].key, t->items[i].key_length) = i + 1;
}

/* entry: NULL to delete; what was deleted stays as an item without an entry. */
static void hold(struct table *t, const unsigned char *key, size_t key_length,
                 const unsigned char *entry, size_t length)
{
    if (2 * t->count >= t->slots)
        more_slots(t);
    uint32_t *slot = slot_of(t, key, key_length);
    if (!*slot) {
        if (!entry)
            return;
        if (t->count == t->room) {
            t->room = t->room ? 2 * t->room : 1024;
            t->items = grown(t->items, t->room * sizeof *t->items);
        }
        struct held *item = &t->items[t->count++];
        *item = (struct held){.key = grown(NULL, key_length), .key_length = key_length};
        memcpy(item->key, key, key_length);
        *slot = t->count;
    }
    struct held *item = &t->items[*slot - 1];
    if (!entry) {
        free(item->entry);
        item->entry = NULL;
        return;
    }
    item->entry = grown(item->entry, length);
    memcpy(item->entry, entry, length);
    item->length = length;
}

static size_t held_now(const struct table *t)
{
    size_t count = 0;
    for (size_t i = 0; i < t->count; i++)
        count += t->items[i].entry != NULL;
    return count;
}

static void flow_mod(const unsigned char *m, size_t length)
{
    static unsigned char entry[65536], key[65536];
    size_t match = get16(m + 50), padded = (match + 7) / 8 * 8;
    if (length < 48 + padded)
        return;
    key[0] = m[24];
    memcpy(key + 1, m + 30, 2);
    memcpy(key + 3, m + 48, match);
    if (m[25] >= 3) {
        flow_deletes++;
        hold(&flows, key, 3 + match, NULL, 0);
        return;
    }
    flow_adds++;
    size_t size = length; /* both forms have 48 octets before the match */
    memset(entry, 0, 48);
    put16(entry, size);
    entry[2] = m[24];
    memcpy(entry + 12, m + 30, 2);
    memcpy(entry + 14, m + 26, 4);
    memcpy(entry + 18, m + 44, 2);
    memcpy(entry + 24, m + 8, 8);
    memcpy(entry + 48, m + 48, length - 48);
    hold(&flows, key, 3 + match, entry, size);
}

/* Group-mods and meter-mods are their descriptions with the command where the length is. */
static void group_or_meter_mod(struct table *t, const unsigned char *m, size_t length, int last)
{
    static unsigned char entry[65536];
    if (get16(m + 8) == last) {
        hold(t, m + 12, 4, NULL, 0);
        return;
    }
    memcpy(entry, m + 8, length - 8);
    put16(entry, length - 8);
    hold(t, m + 12, 4, entry, length - 8);
}

/* --- answers --- */

static void tell_table(const struct table *t, int kind, uint32_t xid)
{
    size_t i = 0;
    for (int more = 1; more;) {
        size_t first = i, size = 0;
        for (; i < t->count && size + t->items[i].length <= MAX_BODY; i++)
            size += t->items[i].entry ? t->items[i].length : 0;
        more = i < t->count;
        unsigned char *at = message(MULTIPART_REPLY, 16 + size, xid);
        put16(at + 8, kind);
        put16(at + 10, more);
        at += 16;
        for (size_t j = first; j < i; j++) {
            if (!t->items[j].entry)
                continue;
            memcpy(at, t->items[j].entry, t->items[j].length);
            at += t->items[j].length;
        }
    }
}

static void tell_ports(uint32_t xid)
{
    static const struct { uint32_t number; const char *name; } ports[] = {
        {EID_PORT, "blue1"}, {TUNNEL_PORT, "lisp0"}};
    unsigned char *at = message(MULTIPART_REPLY, 16 + 2 * 64, xid);
    put16(at + 8, STATS_PORT_DESC);
    for (int i = 0; i < 2; i++) {
        unsigned char *port = at + 16 + 64 * i;
        put32(port, ports[i].number);
        port[8] = 2;
        port[13] = ports[i].number;
        strcpy((char *)port + 16, ports[i].name);
    }
}

static void multipart(const unsigned char *m, size_t length, uint32_t xid)
{
    int kind = get16(m + 8);
    /* Only a question for all flows of the controller, not for the counters of some. */
    int all = kind != STATS_FLOW || (length >= 48 && get64(m + 40) == 0xffff000000000000ull);
    if (kind == STATS_PORT_DESC) {
        tell_ports(xid);
    } else if (kind == STATS_FLOW && all) {
        tell_table(&flows, kind, xid);
        reads++;
    } else if (kind == STATS_GROUP_DESC) {
        tell_table(&groups, kind, xid);
        reads++;
    } else if (kind == STATS_METER_CONFIG) {
        tell_table(&meters, kind, xid);
        reads++;
    } else {
        put16(message(MULTIPART_REPLY, 16, xid) + 8, kind);
    }
}

static void packet_out(const unsigned char *m, size_t length, uint64_t now)
{
    size_t frame = 24 + get16(m + 16);
    if (length < frame + FRAME || get64(m + frame + MARK_AT) != MARK)
        return;
    uint64_t sent = get64(m + frame + MARK_AT + 8);
    if (sent < began || sent > now)
        return;
    uint64_t us = (now - sent) / 1000;
    heard = now;
    in_flight -= in_flight > 0;
    if (now > ends)
        return;
    histogram[us < BUCKETS ? us : BUCKETS - 1]++;
    answered++;
}

static void take(const unsigned char *m, size_t length, uint64_t now)
{
    uint32_t xid = get32(m + 4);
    int changes = m[1] == FLOW_MOD || m[1] == GROUP_MOD || m[1] == METER_MOD;
    if (m[1] == PACKET_OUT || changes) {
        if (reads >= 3 && !reconciled)
            reconciled = now;
        last_message = now;
    }
    if (m[1] == ECHO_REQUEST) {
        message(ECHO_REPLY, HEAD, xid);
    } else if (m[1] == FEATURES_REQUEST) {
        unsigned char *at = message(FEATURES_REPLY, 32, xid);
        put64(at + 8, datapath_id);
        at[20] = 254;
    } else if (m[1] == MULTIPART_REQUEST) {
        multipart(m, length, xid);
        last_message = now;
    } else if (m[1] == BARRIER_REQUEST) {
        message(BARRIER_REPLY, HEAD, xid);
    } else if (m[1] == FLOW_MOD) {
        flow_mod(m, length);
    } else if (m[1] == GROUP_MOD) {
        group_or_meter_mod(&groups, m, length, 2);
    } else if (m[1] == METER_MOD) {
        group_or_meter_mod(&meters, m, length, 2);
    } else if (m[1] == PACKET_OUT) {
        packet_out(m, length, now);
    }
}

/* Send what can be sent, take what has come; wait a little when there is nothing. */
static void pump(int wait_us)
{
    while (out.start < out.end) {
        ssize_t n = send(sock, out.data + out.start, out.end - out.start, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            die("send");
        if (n <= 0)
            break;
        out.start += n;
    }
    if (out.start == out.end)
        out.start = out.end = 0;
    struct pollfd wanted = {sock, POLLIN | (out.end ? POLLOUT : 0), 0};
    struct timespec patience = {0, wait_us * 1000L};
    if (ppoll(&wanted, 1, &patience, NULL) <= 0)
        return;
    if (in.end + READ_ROOM > in.room) {
        in.room = in.end + READ_ROOM;
        in.data = grown(in.data, in.room);
    }
    ssize_t n = recv(sock, in.data + in.end, READ_ROOM, 0);
    if (!n || (n < 0 && errno != EAGAIN)) {
        fprintf(stderr, "the controller closed the connection\n");
        exit(1);
    }
    if (n < 0)
        return;
    in.end += n;
    uint64_t now = now_ns();
    while (in.end - in.start >= HEAD) {
        size_t length = get16(in.data + in.start + 2);
        if (length < HEAD)
            die("a message shorter than its header");
        if (in.end - in.start < length)
            break;
        take(in.data + in.start, length, now);
        in.start += length;
    }
    memmove(in.data, in.data + in.start, in.end - in.start);
    in.end -= in.start;
    in.start = 0;
}

/* --- packets --- */

static void packet_in(uint64_t now)
{
    const size_t match = 24, frame = 24 + match + 2;
    uint32_t host = next_address % HOSTS + 1;
    unsigned char *at = message(PACKET_IN, frame + FRAME, 0), *ip = at + frame + 14;
    put32(at + 8, 0xffffffff);
    put16(at + 12, FRAME);
    at[14] = 1; /* an action sent it */
    at[15] = MISS_TABLE;
    put64(at + 16, MISS_COOKIE);
    put16(at + 24, 1);
    put16(at + 26, match);
    put32(at + 28, 0x80000004); /* in_port */
    put32(at + 32, EID_PORT);
    put32(at + 36, 0x80000408); /* metadata */
    put64(at + 40, INSTANCE_ID);
    unsigned char *eth = at + frame;
    memcpy(eth, "\x02\x00\x00\x00\x00\xfe\x02\x00\x00\x00\x01", 11);
    eth[11] = host;
    put16(eth + 12, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, FRAME - 14);
    ip[8] = 64;
    ip[9] = 17;
    put32(ip + 12, 0x0a010000 + host);
    memcpy(ip + 16, &addresses[next_address], 4);
    next_address = (next_address + 1) % address_count;
    uint32_t sum = 0;
    for (int i = 0; i < 20; i += 2)
        sum += get16(ip + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    put16(ip + 10, ~sum);
    put16(ip + 20, 40000);
    put16(ip + 22, 9);
    put16(ip + 24, FRAME - 34);
    put64(eth + MARK_AT, MARK);
    put64(eth + MARK_AT + 8, now);
    in_flight++;
}

static double percentile(double share)
{
    uint64_t seen = 0, wanted = answered * share;
    for (int i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > wanted)
            return i + 0.5;
    }
    return BUCKETS;
}

/* --- commands --- */

static void do_connect(int port)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    for (int tries = 0;; tries++) {
        sock = socket(AF_INET, SOCK_STREAM, 0);
        if (!connect(sock, (struct sockaddr *)&server, sizeof server))
            break;
        if (tries > 300)
            die("connect");
        close(sock);
        usleep(50000);
    }
    setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(sock, F_SETFL, O_NONBLOCK);
    in.start = in.end = out.start = out.end = 0;
    reads = 0;
    reconciled = flow_adds = flow_deletes = 0;
    connected = last_message = now_ns();
    message(HELLO, HEAD, 1);
    while (now_ns() - last_message < (reads == 3 && !reconciled ? 60 : 1) * SECOND)
        pump(1000);
    printf("%.6f %llu %llu %zu\n", reconciled ? (reconciled - connected) / 1e9 : 0.0,
           (unsigned long long)flow_adds, (unsigned long long)flow_deletes, held_now(&flows));
}

static void do_setups(double seconds, uint64_t window, double rate, uint64_t count)
{
    uint64_t sent = 0, lost = 0, now = now_ns(), last = now;
    memset(histogram, 0, sizeof histogram);
    answered = in_flight = flow_adds = 0;
    began = heard = now;
    ends = began + (uint64_t)(seconds * 1e9);
    while (now < ends && (sent < count || in_flight)) {
        uint64_t before = answered;
        while (in_flight < window && sent < count && (!rate || sent < (now - began) / 1e9 * rate)) {
            if (!in_flight)
                heard = now;
            packet_in(now);
            sent++;
        }
        pump(rate ? 100 : 1000);
        now = now_ns();
        if (answered != before)
            last = now;
        if (in_flight && now - heard > SECOND) {
            lost += in_flight;
            in_flight = 0;
        }
    }
    uint64_t took = last - began;
    for (now = now_ns(), heard = now; in_flight && now - heard < SECOND; now = now_ns())
        pump(1000);
    printf("%llu %llu %llu %.6f %.1f %.1f %llu %zu\n", (unsigned long long)sent,
           (unsigned long long)answered, (unsigned long long)lost + in_flight, took / 1e9,
           percentile(0.5), percentile(0.99), (unsigned long long)flow_adds, held_now(&flows));
}

static void read_addresses(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        die(path);
    fseek(file, 0, SEEK_END);
    address_count = ftell(file) / 4;
    rewind(file);
    addresses = grown(NULL, 4 * address_count + 4);
    if (!address_count || fread(addresses, 4, address_count, file) != address_count)
        die(path);
    fclose(file);
}

int main(int argc, char **argv)
{
    char line[200];
    if (argc != 3) {
        fprintf(stderr, "usage: see the top of fakeswitch.c\n");
        return 2;
    }
    datapath_id = strtoull(argv[1], NULL, 10);
    read_addresses(argv[2]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    /* Between commands the connection lives on: the controller's questions are answered. */
    for (;;) {
        struct pollfd waiting = {0, POLLIN, 0};
        if (poll(&waiting, 1, sock < 0 ? -1 : 0) == 0) {
            pump(5000);
            continue;
        }
        /* One command at a time is outstanding, so stdio has none left over. */
        if (!fgets(line, sizeof line, stdin))
            return 0;
        int port;
        double seconds, rate;
        unsigned long long window, count;
        if (sscanf(line, "connect %d", &port) == 1) {
            do_connect(port);
        } else if (sscanf(line, "setups %lf %llu %lf %llu", &seconds, &window, &rate, &count) == 4) {
            do_setups(seconds, window, rate, count);
        } else if (!strncmp(line, "disconnect", 10)) {
            close(sock);
            sock = -1;
            printf("%zu\n", held_now(&flows));
        } else {
            fprintf(stderr, "unknown command: %s", line);
            return 2;
        }
    }
}
