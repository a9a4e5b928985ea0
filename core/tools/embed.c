/*
 * embed OUT FILE.lua... - a build tool: compiles Lua files to bytecode with the LuaJIT that the
 * binary is linked with, and writes them as one C table. A file under lua/ is named after its path
 * there (lua/brood/init.lua is "brood"), any other after itself. The numbers of the lines stay in,
 * so that tracebacks read "lua/brood/master.lua:12"; the names of local variables, which every
 * process would hold in its memory, do not. It is no part of brood.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

struct module {
	char name[256];
	const char *path;
};

static const char *path_shown(const char *path)
{
	const char *slash = strrchr(path, '/');

	return !strncmp(path, "lua/", 4) || !slash ? path : slash + 1;
}

/* lua/brood/rules/init.lua -> brood.rules; /usr/share/lua/5.1/argparse.lua -> argparse */
static int module_name(struct module *m, const char *path)
{
	const char *from = path_shown(path);
	size_t len;

	if (!strncmp(from, "lua/", 4))
		from += 4;
	len = strlen(from);
	if (len < 5 || len >= sizeof m->name || strcmp(from + len - 4, ".lua"))
		return -EINVAL;
	len -= 4;
	if (len > 5 && !strncmp(from + len - 5, "/init", 5))
		len -= 5;
	for (size_t i = 0; i < len; i++)
		m->name[i] = from[i] == '/' ? '.' : from[i];
	m->name[len] = 0;
	m->path = path;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct module *)a)->name, ((const struct module *)b)->name);
}

static char *file_read(const char *path, size_t *size)
{
	FILE *in = fopen(path, "rb");
	char *data = NULL;
	long end;

	if (!in || fseek(in, 0, SEEK_END) || (end = ftell(in)) < 0)
		goto out;
	rewind(in);
	data = malloc((size_t)end + 1);
	if (data && fread(data, 1, (size_t)end, in) != (size_t)end) {
		free(data);
		data = NULL;
	}
	*size = (size_t)end;
out:
	if (in)
		fclose(in);
	return data;
}

struct dump {
	unsigned char *data;
	size_t size;
};

static int on_bytes(lua_State *L, const void *data, size_t size, void *arg)
{
	struct dump *dump = arg;
	unsigned char *more = realloc(dump->data, dump->size + size);

	(void)L;
	if (!more)
		return 1;
	memcpy(more + dump->size, data, size);
	dump->data = more;
	dump->size += size;
	return 0;
}

/* ---- LuaJIT's bytecode, as lj_bcdump.h describes it ---- */

static size_t number_read(const unsigned char **at)
{
	size_t value = 0;

	for (int shift = 0;; shift += 7) {
		unsigned char byte = *(*at)++;

		value |= (size_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return value;
	}
}

static unsigned char *number_write(unsigned char *to, size_t value)
{
	for (; value >= 0x80; value >>= 7)
		*to++ = (unsigned char)(value | 0x80);
	*to++ = (unsigned char)value;
	return to;
}

/*
 * One function. Behind all else it has what is for debugging: lines, then the names of upvalues,
 * then names and ranges of local variables. The former become empty, of the latter there are none.
 */
static unsigned char *function_write(unsigned char *to, const unsigned char *from, size_t size)
{
	const unsigned char *at = from + 4, *names, *sizes;
	size_t upvalues = from[3], code, debug, lines, body;
	unsigned char head[64], *end;

	number_read(&at);
	number_read(&at);
	code = number_read(&at);
	sizes = at;
	debug = number_read(&at);
	names = at;
	if (debug) {
		number_read(&at);
		lines = number_read(&at);
		lines = code * (lines < 256 ? 1 : lines < 65536 ? 2 : 4);
	} else {
		lines = upvalues = 0;
	}
	memcpy(head, from, (size_t)(sizes - from));
	end = number_write(head + (sizes - from), debug ? lines + upvalues + 1 : 0);
	memcpy(end, names, (size_t)(at - names));
	end += at - names;
	body = size - (size_t)(at - from) - debug;
	to = number_write(to, (size_t)(end - head) + body + (debug ? lines + upvalues + 1 : 0));
	memcpy(to, head, (size_t)(end - head));
	to += end - head;
	memcpy(to, at, body + lines);
	to += body + lines;
	memset(to, 0, debug ? upvalues + 1 : 0);
	return to + (debug ? upvalues + 1 : 0);
}

/* The functions of a dump, each with its size before it and a 0 behind the last. */
static int names_drop(struct dump *dump)
{
	unsigned char *result = malloc(dump->size + 16), *to;
	const unsigned char *at = dump->data + 4;
	size_t size;

	if (!result || memcmp(dump->data, "\033LJ\2", 4)) {
		fprintf(stderr, "embed: bytecode of a version that is not known here\n");
		free(result);
		return -1;
	}
	if (!(number_read(&at) & 2)) { /* not stripped: its chunk's name is told */
		size = number_read(&at);
		at += size;
	}
	memcpy(result, dump->data, (size_t)(at - dump->data));
	to = result + (at - dump->data);
	while ((size = number_read(&at)) > 0) {
		to = function_write(to, at, size);
		at += size;
	}
	*to++ = 0;
	free(dump->data);
	dump->data = result;
	dump->size = (size_t)(to - result);
	return 0;
}

/* Writes one array; its size follows in the table, where sizeof knows it. */
static int module_write(lua_State *L, const struct module *m, size_t index, FILE *file)
{
	struct dump dump = { NULL, 0 };
	char chunk[300];
	size_t size = 0;
	char *source = file_read(m->path, &size);
	int rc = -1;

	if (!source) {
		fprintf(stderr, "embed: %s: %s\n", m->path, strerror(errno));
		return -1;
	}
	snprintf(chunk, sizeof chunk, "@%s", path_shown(m->path));
	fprintf(file, "static const unsigned char m%zu[] = {\n", index);
	if (luaL_loadbuffer(L, source, size, chunk))
		fprintf(stderr, "%s\n", lua_tostring(L, -1));
	else if (!lua_dump(L, on_bytes, &dump))
		rc = names_drop(&dump);
	for (size_t i = 0; rc == 0 && i < dump.size; i++)
		fprintf(file, i % 32 == 31 ? "%u,\n" : "%u,", dump.data[i]);
	fprintf(file, "};\n");
	free(dump.data);
	lua_pop(L, 1);
	free(source);
	return rc;
}

static int modules_write(lua_State *L, const struct module *m, size_t n, FILE *out)
{
	fprintf(out, "#include <stddef.h>\n");
	for (size_t i = 0; i < n; i++) {
		if (i && !strcmp(m[i].name, m[i - 1].name)) {
			fprintf(stderr, "embed: %s and %s are both '%s'\n", m[i - 1].path,
				m[i].path, m[i].name);
			return -1;
		}
		if (module_write(L, &m[i], i, out))
			return -1;
	}
	fprintf(out, "struct embedded_module { const char *name; const unsigned char *data; size_t "
		     "size; };\n"
		     "extern const struct embedded_module embedded_modules[];\n"
		     "const struct embedded_module embedded_modules[] = {\n");
	for (size_t i = 0; i < n; i++)
		fprintf(out, "\t{ \"%s\", m%zu, sizeof m%zu },\n", m[i].name, i, i);
	fprintf(out, "\t{ NULL, NULL, 0 },\n};\n");
	return ferror(out);
}

int main(int argc, char **argv)
{
	size_t n = argc > 2 ? (size_t)argc - 2 : 0;
	struct module *modules = calloc(n + 1, sizeof *modules);
	lua_State *L = luaL_newstate();
	FILE *out = argc > 1 ? fopen(argv[1], "w") : NULL;
	int rc = 1;

	if (!modules || !L || !out) {
		fprintf(stderr, "usage: embed OUT FILE.lua... (%s)\n", strerror(errno));
		goto fail;
	}
	for (size_t i = 0; i < n; i++) {
		if (module_name(&modules[i], argv[i + 2])) {
			fprintf(stderr, "embed: %s: not a .lua file\n", argv[i + 2]);
			goto fail;
		}
	}
	qsort(modules, n, sizeof *modules, by_name);
	rc = modules_write(L, modules, n, out) != 0;
fail:
	if (out && fclose(out))
		rc = 1;
	if (L)
		lua_close(L);
	free(modules);
	return rc;
}
