/*
 * An opponent by hand: the loop that one would write in C over librdkafka, as cheap as it gets.
 *
 * It reads framed records of bench.Customer (tests/bench/loop.avsc), copies what is clear, and seals the last three
 * fields as values with a header of a lease's size, a nonce and a tag; AES-256-GCM-SIV where OpenSSL has it, AES-256-GCM
 * elsewhere. Flush, then commit, every EVERY records; or a transaction with the group's offsets.
 *
 *   encryptor BOOTSTRAP SOURCE TARGET COUNT MODE HEADER EVERY CODEC     MODE: copy | seal | copy-txn | seal-txn
 *   cc -O2 -march=native encryptor.c LIBRDKAFKA -lcrypto
 *
 * What it uses of librdkafka is declared here, so that no header of a matching version is needed.
 */
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

typedef struct {
  int err;
  void *rkt;
  int32_t partition;
  void *payload;
  size_t len;
  void *key;
  size_t key_len;
  int64_t offset;
  void *own;
} message_t;

void *rd_kafka_conf_new(void);
int rd_kafka_conf_set(void *, const char *, const char *, char *, size_t);
void rd_kafka_conf_set_dr_msg_cb(void *, void (*)(void *, const message_t *, void *));
void *rd_kafka_new(int, void *, char *, size_t);
int rd_kafka_poll(void *, int);
int rd_kafka_flush(void *, int);
int rd_kafka_poll_set_consumer(void *);
void *rd_kafka_topic_partition_list_new(int);
void *rd_kafka_topic_partition_list_add(void *, const char *, int32_t);
void rd_kafka_topic_partition_list_destroy(void *);
int rd_kafka_subscribe(void *, void *);
void *rd_kafka_queue_get_consumer(void *);
ssize_t rd_kafka_consume_batch_queue(void *, int, message_t **, size_t);
void rd_kafka_message_destroy(message_t *);
void *rd_kafka_topic_new(void *, const char *, void *);
int rd_kafka_produce(void *, int32_t, int, void *, size_t, const void *, size_t, void *);
int rd_kafka_commit(void *, void *, int);
int rd_kafka_assignment(void *, void **);
int rd_kafka_position(void *, void *);
void *rd_kafka_consumer_group_metadata(void *);
void rd_kafka_consumer_group_metadata_destroy(void *);
void *rd_kafka_init_transactions(void *, int);
void *rd_kafka_begin_transaction(void *);
void *rd_kafka_send_offsets_to_transaction(void *, void *, void *, int);
void *rd_kafka_commit_transaction(void *, int);
const char *rd_kafka_error_string(void *);

enum { PRODUCER = 0, CONSUMER = 1, COPY = 2, AT_ONCE = 1000, NONCES = 4096, NONCE = 12, TAG = 16, LONGEST = 65536 };

static long failed, acknowledged;
static EVP_CIPHER_CTX *cipher;
static unsigned char header[512], nonces[NONCE * NONCES];
static int header_len, next_nonce = NONCES;

static void stop(const char *why) {
  fprintf(stderr, "encryptor: %s\n", why);
  exit(1);
}

static void settle(void *error) {
  if (error) stop(rd_kafka_error_string(error));
}

static void set(void *conf, const char *name, const char *value) {
  char why[512];
  if (rd_kafka_conf_set(conf, name, value, why, sizeof why)) stop(why);
}

static void report(void *client, const message_t *message, void *opaque) {
  (void)client, (void)opaque;
  if (message->err) failed++;
  else acknowledged++;
}

static const unsigned char *number(const unsigned char *at, const unsigned char *end, int64_t *value) {
  uint64_t found = 0;
  for (int shift = 0; at < end && shift < 64; shift += 7) {
    unsigned char byte = *at++;
    found |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) {
      *value = (int64_t)(found >> 1) ^ -(int64_t)(found & 1);
      return at;
    }
  }
  stop("a number that is none");
  return at;
}

static const unsigned char *text(const unsigned char *at, const unsigned char *end) {
  int64_t length;
  at = number(at, end, &length);
  if (length < 0 || length > end - at) stop("a text that is none");
  return at + length;
}

static unsigned char *put_length(unsigned char *out, uint64_t length) {
  for (length <<= 1; length > 127; length >>= 7) *out++ = (unsigned char)(length | 128);
  *out++ = (unsigned char)length;
  return out;
}

/* The value, its length included, as a lease carries it. */
static unsigned char *seal(unsigned char *out, const unsigned char *value, int length) {
  int written, rest;
  if (next_nonce == NONCES) {
    if (RAND_bytes(nonces, sizeof nonces) != 1) stop("no random numbers");
    next_nonce = 0;
  }
  const unsigned char *nonce = nonces + NONCE * next_nonce++;
  out = put_length(out, (uint64_t)(header_len + NONCE + length + TAG));
  memcpy(out, header, (size_t)header_len);
  out += header_len;
  memcpy(out, nonce, NONCE);
  out += NONCE;
  if (EVP_EncryptInit_ex(cipher, NULL, NULL, NULL, nonce) != 1 ||
      EVP_EncryptUpdate(cipher, NULL, &written, header, header_len) != 1 ||
      EVP_EncryptUpdate(cipher, out, &written, value, length) != 1 ||
      EVP_EncryptFinal_ex(cipher, out + written, &rest) != 1 ||
      EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, TAG, out + length) != 1)
    stop("the cipher failed");
  return out + length + TAG;
}

/* id, country, active, score, since, then name, email, phone, each of which is sealed. */
static size_t change(const unsigned char *in, size_t length, unsigned char *out) {
  const unsigned char *end = in + length, *at = in + 5;
  unsigned char *start = out;
  int64_t ignored;
  if (length < 5 || length > LONGEST / 2) stop("a record that is none");
  at = number(at, end, &ignored);
  at = text(at, end);
  if (end - at < 9) stop("a record that ends early");
  at += 9;
  at = number(at, end, &ignored);
  memcpy(out, in, (size_t)(at - in));
  out += at - in;
  for (int field = 0; field < 3; field++) {
    const unsigned char *behind = text(at, end);
    out = seal(out, at, (int)(behind - at));
    at = behind;
  }
  if (at != end) stop("bytes follow the record");
  return (size_t)(out - start);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double cpu(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

static void set_up_cipher(void) {
  unsigned char key[32];
  const EVP_CIPHER *kind = NULL;
  if (RAND_bytes(key, sizeof key) != 1 || RAND_bytes(header, sizeof header) != 1) stop("no random numbers");
#if OPENSSL_VERSION_NUMBER >= 0x30200000L
  kind = EVP_CIPHER_fetch(NULL, "AES-256-GCM-SIV", NULL);
#endif
  if (!kind) kind = EVP_aes_256_gcm();
  cipher = EVP_CIPHER_CTX_new();
  if (!cipher || EVP_EncryptInit_ex(cipher, kind, NULL, key, NULL) != 1) stop("no cipher");
}

static void *consumer_of(const char *bootstrap, const char *group, const char *topic) {
  char why[512];
  void *conf = rd_kafka_conf_new(), *topics = rd_kafka_topic_partition_list_new(1), *consumer;
  set(conf, "bootstrap.servers", bootstrap);
  set(conf, "group.id", group);
  set(conf, "auto.offset.reset", "earliest");
  set(conf, "enable.auto.commit", "false");
  set(conf, "isolation.level", "read_committed");
  set(conf, "fetch.queue.backoff.ms", "10");
  if (!(consumer = rd_kafka_new(CONSUMER, conf, why, sizeof why))) stop(why);
  rd_kafka_poll_set_consumer(consumer);
  rd_kafka_topic_partition_list_add(topics, topic, -1);
  if (rd_kafka_subscribe(consumer, topics)) stop("can't subscribe");
  return consumer;
}

static void *producer_of(const char *bootstrap, const char *codec, const char *transaction) {
  char why[512];
  void *conf = rd_kafka_conf_new(), *producer;
  set(conf, "bootstrap.servers", bootstrap);
  set(conf, "enable.idempotence", "true");
  set(conf, "acks", "all");
  set(conf, "linger.ms", "5");
  set(conf, "compression.type", codec);
  if (transaction) set(conf, "transactional.id", transaction);
  rd_kafka_conf_set_dr_msg_cb(conf, report);
  if (!(producer = rd_kafka_new(PRODUCER, conf, why, sizeof why))) stop(why);
  if (transaction) settle(rd_kafka_init_transactions(producer, 30000));
  return producer;
}

static void finish(void *consumer, void *producer, int transactional, int last) {
  if (transactional) {
    void *positions, *group = rd_kafka_consumer_group_metadata(consumer);
    rd_kafka_assignment(consumer, &positions);
    rd_kafka_position(consumer, positions);
    settle(rd_kafka_send_offsets_to_transaction(producer, positions, group, 30000));
    rd_kafka_consumer_group_metadata_destroy(group);
    rd_kafka_topic_partition_list_destroy(positions);
    settle(rd_kafka_commit_transaction(producer, 30000));
    if (!last) settle(rd_kafka_begin_transaction(producer));
    return;
  }
  if (rd_kafka_flush(producer, 60000)) stop("not delivered in time");
  if (rd_kafka_commit(consumer, NULL, 0)) stop("can't commit");
}

int main(int count, char **args) {
  if (count != 9) stop("BOOTSTRAP SOURCE TARGET COUNT MODE HEADER EVERY CODEC");
  long wanted = atol(args[4]), every = atol(args[7]), done = 0, since = 0;
  int seals = !strncmp(args[5], "seal", 4), transactional = strstr(args[5], "-txn") != NULL;
  header_len = atoi(args[6]);
  if (header_len < 0 || header_len > (int)sizeof header) stop("a header of at most 512 bytes");
  char name[64];
  snprintf(name, sizeof name, "encryptor-%d", getpid());
  set_up_cipher();
  void *consumer = consumer_of(args[1], name, args[2]);
  void *producer = producer_of(args[1], args[8], transactional ? name : NULL);
  void *queue = rd_kafka_queue_get_consumer(consumer), *target = rd_kafka_topic_new(producer, args[3], NULL);
  message_t *messages[AT_ONCE];
  static unsigned char out[LONGEST * 2];
  double began = 0, used = 0;
  while (done < wanted) {
    ssize_t found = rd_kafka_consume_batch_queue(queue, 1000, messages, AT_ONCE);
    if (found > 0 && began == 0) {
      began = seconds();
      used = cpu();
      if (transactional) settle(rd_kafka_begin_transaction(producer));
    }
    for (ssize_t i = 0; i < found; i++) {
      message_t *message = messages[i];
      if (!message->err) {
        void *value = message->payload;
        size_t length = message->len;
        if (seals) {
          length = change(value, length, out);
          value = out;
        }
        while (rd_kafka_produce(target, message->partition, COPY, value, length, message->key, message->key_len, NULL))
          rd_kafka_poll(producer, 10);
        done++;
        since++;
      }
      rd_kafka_message_destroy(message);
    }
    rd_kafka_poll(producer, 0);
    if (began != 0 && (since >= every || done >= wanted)) {
      finish(consumer, producer, transactional, done >= wanted);
      since = 0;
    }
  }
  if (failed || acknowledged != done) stop("a record was not delivered");
  struct rusage memory;
  getrusage(RUSAGE_SELF, &memory);
  printf("{\"records\": %ld, \"seconds\": %.4f, \"cpu_s\": %.4f, \"memory_mb\": %.1f}\n", done, seconds() - began,
         cpu() - used, (double)memory.ru_maxrss / 1024);
  fflush(stdout);
  _exit(0);
}
