/* UDP load generator: sends pre-built LISP control messages, counts and times the answers.
 *
 *   loadgen MODE ADDRESS PORT SECONDS OUTSTANDING FLOWS FILE
 *
 * FILE: messages, each preceded by its length as a 16-bit number in network order. OUTSTANDING:
 * messages in flight in total; each answer, or a loss noticed after 1 s of silence, lets another out. FLOWS: UDP sockets, so that SO_REUSEPORT spreads them.
 *
 * MODE request:  ECM Map-Requests, IPv4 in IPv4, with zeros for nonce, ITR-RLOC and inner source
 *                port, their inner checksum right. They are sent round and round; the nonce is
 *                the send time, ITR-RLOC and port are the flow's (127.0.1.N), the checksum is kept
 *                right.
 * MODE echo:     the same datagrams, to a server that sends them back.
 * MODE register: Map-Registers with ascending nonces, each sent once, from 127.0.0.2 port 4342,
 *                where Map-Notifies come.
 *
 * Prints one line: sent received lost seconds p50_us p99_us cpu_seconds
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 32
#define ROOM 2048
#define BUCKETS 200000 /* microseconds */
#define MAX_FLOWS 64
#define PATIENCE_NS 1000000000L
#define NAP_NS 20000L

#define PORT_AT 24
#define CHECKSUM_AT 30
#define REQUEST_NONCE_AT 36
#define RLOC_AT 52
#define REPLY_NONCE_AT 4
#define REGISTER_NONCE_AT 4

struct message {
    unsigned char *data;
    size_t length;
    uint32_t sum; /* of all 16-bit words but those that are filled in */
    uint64_t sent;
};

static struct message *messages;
static size_t message_count;
static unsigned histogram[BUCKETS];

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void read_messages(const char *path)
{
    FILE *file = fopen(path, "rb");
    unsigned char head[2];
    size_t room = 0;
    if (!file)
        die(path);
    while (fread(head, 2, 1, file) == 1) {
        struct message m = {0};
        m.length = head[0] << 8 | head[1];
        m.data = malloc(m.length);
        if (!m.data || fread(m.data, m.length, 1, file) != 1)
            die(path);
        if (message_count == room) {
            room = room ? room * 2 : 1024;
            messages = realloc(messages, room * sizeof *messages);
            if (!messages)
                die("realloc");
        }
        messages[message_count++] = m;
    }
    fclose(file);
    if (!message_count) {
        fprintf(stderr, "%s: no messages\n", path);
        exit(1);
    }
}

static uint32_t words(const void *data, size_t length)
{
    const unsigned char *octets = data;
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < length; i += 2)
        sum += octets[i] << 8 | octets[i + 1];
    return sum;
}

/* Write send time, own port and own address into a Map-Request (RFC 1624 for the checksum). */
static void fill(struct message *m, uint64_t stamp, const struct sockaddr_in *own)
{
    memcpy(m->data + REQUEST_NONCE_AT, &stamp, 8);
    memcpy(m->data + PORT_AT, &own->sin_port, 2);
    memcpy(m->data + RLOC_AT, &own->sin_addr, 4);
    uint32_t sum = m->sum + words(&stamp, 8) + words(&own->sin_port, 2) + words(&own->sin_addr, 4);
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    uint16_t checksum = htons(sum == 0xFFFF ? 0xFFFF : ~sum & 0xFFFF);
    memcpy(m->data + CHECKSUM_AT, &checksum, 2);
}

static double percentile(uint64_t total, double share)
{
    uint64_t seen = 0, wanted = (uint64_t)(total * share);
    for (int i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > wanted)
            return i + 0.5;
    }
    return BUCKETS;
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "usage: see the top of loadgen.c\n");
        return 2;
    }
    int registers = !strcmp(argv[1], "register"), echo = !strcmp(argv[1], "echo");
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[3]))};
    if (inet_pton(AF_INET, argv[2], &server.sin_addr) != 1) {
        fprintf(stderr, "%s: no IPv4 address\n", argv[2]);
        return 2;
    }
    double seconds = atof(argv[4]);
    int outstanding = atoi(argv[5]), flows = atoi(argv[6]);
    size_t reply_nonce_at = echo ? REQUEST_NONCE_AT : REPLY_NONCE_AT;
    if (flows < 1 || flows > (registers ? 1 : MAX_FLOWS) || outstanding < flows) {
        fprintf(stderr, "FLOWS is 1..%d, 1 for register, and at most OUTSTANDING\n", MAX_FLOWS);
        return 2;
    }
    read_messages(argv[7]);
    uint64_t first_nonce = 0;
    for (size_t i = 0; i < message_count; i++) {
        struct message *m = &messages[i];
        m->sum = (uint16_t)~words(m->data + CHECKSUM_AT, 2);
    }
    if (registers) {
        memcpy(&first_nonce, messages[0].data + REGISTER_NONCE_AT, 8);
        first_nonce = be64toh(first_nonce);
    }
    prctl(PR_SET_TIMERSLACK, 1000);

    int sockets[MAX_FLOWS], in_flight[MAX_FLOWS] = {0};
    uint64_t heard[MAX_FLOWS];
    struct sockaddr_in own[MAX_FLOWS];
    int buffer = 4 << 20, share = outstanding / flows;
    for (int f = 0; f < flows; f++) {
        socklen_t length = sizeof own[f];
        sockets[f] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (sockets[f] < 0)
            die("socket");
        setsockopt(sockets[f], SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        setsockopt(sockets[f], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
        own[f] = (struct sockaddr_in){.sin_family = AF_INET};
        own[f].sin_addr.s_addr = htonl(registers ? 0x7F000002 : 0x7F000100 + f + 1);
        own[f].sin_port = htons(registers ? 4342 : 0);
        if (bind(sockets[f], (struct sockaddr *)&own[f], sizeof own[f]) < 0)
            die("bind");
        if (connect(sockets[f], (struct sockaddr *)&server, sizeof server) < 0)
            die("connect");
        getsockname(sockets[f], (struct sockaddr *)&own[f], &length);
    }

    static unsigned char in[BATCH][ROOM];
    struct mmsghdr in_headers[BATCH] = {0}, out_headers[BATCH] = {0};
    struct iovec in_iov[BATCH], out_iov[BATCH];
    for (int i = 0; i < BATCH; i++) {
        in_iov[i] = (struct iovec){in[i], ROOM};
        in_headers[i].msg_hdr.msg_iov = &in_iov[i];
        in_headers[i].msg_hdr.msg_iovlen = 1;
        out_headers[i].msg_hdr.msg_iov = &out_iov[i];
        out_headers[i].msg_hdr.msg_iovlen = 1;
    }

    uint64_t sent = 0, received = 0, lost = 0, next = 0;
    uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), now = start, last = start;
    for (int f = 0; f < flows; f++)
        heard[f] = start;
    while (now < end && !(registers && next == message_count && !in_flight[0])) {
        int busy = 0;
        for (int f = 0; f < flows; f++) {
            int got = recvmmsg(sockets[f], in_headers, BATCH, 0, NULL);
            now = now_ns();
            for (int i = 0; i < got; i++) {
                uint64_t nonce;
                if (in_headers[i].msg_len < reply_nonce_at + 8)
                    continue;
                memcpy(&nonce, in[i] + reply_nonce_at, 8);
                if (registers) {
                    nonce = be64toh(nonce) - first_nonce;
                    if (nonce >= next)
                        continue;
                    nonce = messages[nonce].sent;
                }
                if (nonce < start || nonce > now)
                    continue;
                uint64_t us = (now - nonce) / 1000;
                histogram[us < BUCKETS ? us : BUCKETS - 1]++;
                received++;
                last = now;
                if (in_flight[f])
                    in_flight[f]--;
            }
            if (got > 0) {
                heard[f] = now;
                busy = 1;
            } else if (in_flight[f] && now - heard[f] > PATIENCE_NS) {
                lost += in_flight[f];
                in_flight[f] = 0;
                heard[f] = now;
            }
            int room = share - in_flight[f];
            if (room > BATCH)
                room = BATCH;
            if (registers && (uint64_t)room > message_count - next)
                room = message_count - next;
            if (room <= 0)
                continue;
            for (int i = 0; i < room; i++) {
                struct message *m = &messages[next];
                next = next + 1 == message_count && !registers ? 0 : next + 1;
                m->sent = now;
                if (!registers)
                    fill(m, now, &own[f]);
                out_iov[i] = (struct iovec){m->data, m->length};
            }
            int out = sendmmsg(sockets[f], out_headers, room, 0);
            if (out > 0) {
                sent += out;
                in_flight[f] += out;
                busy = 1;
            }
        }
        if (!busy) {
            /* A nap, not poll(): waking us would be charged to the server on this machine. */
            struct timespec nap = {0, NAP_NS};
            nanosleep(&nap, NULL);
            now = now_ns();
        }
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%llu %llu %llu %.6f %.1f %.1f %.3f\n", (unsigned long long)sent,
           (unsigned long long)received, (unsigned long long)lost,
           ((registers ? last : now) - start) / 1e9, percentile(received, 0.5),
           percentile(received, 0.99),
           usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
               (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    return 0;
}
