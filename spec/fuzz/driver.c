/*
 * driver.c - in libFuzzer's place where it is not at hand, and where every run must be the same:
 * a main() whose mutations depend on the seed alone.
 *
 *   fuzz-http [-runs=N] [-seed=N] [-max_total_time=SECONDS] FILE|DIR...
 *
 * Other options are libFuzzer's, and ignored. It writes no file but crash-http.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX 32768

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const uint8_t *current;
static size_t current_len;

static void fail(const char *what)
{
	fprintf(stderr, "fuzz: %s\n", what);
	exit(1);
}

static void try_one(const uint8_t *data, size_t len)
{
	current = data;
	current_len = len;
	LLVMFuzzerTestOneInput(data, len);
}

static void save(const uint8_t *data, size_t len)
{
	int fd = open("crash-http", O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd >= 0 && write(fd, data, len) == (ssize_t)len)
		fprintf(stderr, "fuzz: the input (%zu bytes) is in crash-http\n", len);
}

static void on_abort(int sig)
{
	signal(sig, SIG_DFL);
	save(current, current_len);
	raise(sig);
}

struct input {
	uint8_t bytes[INPUT_MAX];
	size_t len;
};

static struct input *corpus;
static size_t corpus_len;
static uint64_t state = 1;

static const char *const words[] = {
	"\r\n",
	"\r\n\r\n",
	"\n",
	"\r",
	" ",
	"\t",
	":",
	",",
	";",
	"=",
	"\"",
	"\\",
	"0",
	"1",
	"0\r\n\r\n",
	"ffffffff",
	"HTTP/1.1",
	"HTTP/1.0",
	"HTTP/2.0",
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST ",
	"HEAD ",
	"OPTIONS * ",
	"CONNECT ",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"http://a",
	"Host: a\r\n",
	"Content-Length: 3\r\n",
	"Content-Length: 2000\r\n",
	"Transfer-Encoding: chunked\r\n",
	"Connection: close\r\n",
	"Connection: keep-alive\r\n",
	"Connection: Upgrade\r\nUpgrade: h2c\r\n",
	"Expect: 100-continue\r\n",
	"3;a=b\r\nabc\r\n",
	"\x7f",
	"\x80",
	"\v",
	"%00",
};

static uint32_t draw(size_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return below ? (uint32_t)((state >> 16) % below) : 0;
}

static void insert(struct input *in, size_t at, const void *bytes, size_t len)
{
	if (in->len + len > INPUT_MAX)
		return;
	memmove(in->bytes + at + len, in->bytes + at, in->len - at);
	memcpy(in->bytes + at, bytes, len);
	in->len += len;
}

static void erase(struct input *in, size_t at, size_t len)
{
	memmove(in->bytes + at, in->bytes + at + len, in->len - at - len);
	in->len -= len;
}

static void mutate(struct input *in)
{
	static uint8_t part[INPUT_MAX];
	const struct input *other = &corpus[draw(corpus_len)];
	const char *word = words[draw(sizeof(words) / sizeof(*words))];
	size_t at = draw(in->len + 1);
	size_t len = draw((in->len - at < 64 ? in->len - at : 64) + 1);

	switch (draw(7)) {
	case 0:
		if (at < in->len)
			in->bytes[at] ^= (uint8_t)(1 << draw(8));
		break;
	case 1:
		if (at < in->len)
			in->bytes[at] = (uint8_t)draw(256);
		break;
	case 2: erase(in, at, len); break;
	case 3:
		memcpy(part, in->bytes + at, len);
		insert(in, draw(in->len + 1), part, len);
		break;
	case 4:
		/* A NUL is a word, too. */
		insert(in, at, word, draw(40) ? strlen(word) : 1);
		break;
	case 5:
		len = draw(other->len + 1);
		insert(in, at, other->bytes + other->len - len, len);
		break;
	default: in->len = at; break;
	}
}

static void read_input(const char *path)
{
	struct input *more = realloc(corpus, (corpus_len + 1) * sizeof(*corpus));
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (!more || fd < 0)
		fail(path);
	corpus = more;
	n = read(fd, corpus[corpus_len].bytes, INPUT_MAX);
	close(fd);
	corpus[corpus_len++].len = n > 0 ? (size_t)n : 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_corpus(const char *path)
{
	struct dirent **names;
	struct stat st;
	int n;

	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
		read_input(path);
		return;
	}
	/* Sorted, so that the same seed does the same everywhere. */
	n = scandir(path, &names, NULL, by_name);
	if (n < 0)
		fail(path);
	for (int i = 0; i < n; i++) {
		char full[4096];

		snprintf(full, sizeof(full), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			read_input(full);
		free(names[i]);
	}
	free(names);
}

int main(int argc, char **argv)
{
	static struct input in;
	unsigned long long count = 0, limit = 0, seconds = 0, seed = 1;
	time_t begun = time(NULL);

	for (int i = 1; i < argc; i++) {
		if (sscanf(argv[i], "-runs=%llu", &limit) != 1 &&
		    sscanf(argv[i], "-seed=%llu", &seed) != 1 &&
		    sscanf(argv[i], "-max_total_time=%llu", &seconds) != 1 && argv[i][0] != '-')
			read_corpus(argv[i]);
	}
	if (!corpus_len)
		fail("no corpus");
	signal(SIGABRT, on_abort);
	signal(SIGSEGV, on_abort);
	for (size_t i = 0; i < corpus_len; i++)
		try_one(corpus[i].bytes, corpus[i].len);
	state = seed * 2654435761U + 1;
	for (; count < limit || (seconds && time(NULL) - begun < (time_t)seconds); count++) {
		in = corpus[draw(corpus_len)];
		for (uint32_t n = 1 + draw(6); n; n--)
			mutate(&in);
		try_one(in.bytes, in.len);
	}
	printf("%zu inputs, %llu mutations, seed %llu: all is well\n", corpus_len, count, seed);
	return 0;
}
