/*
 * embed OUT FILE.lua... - a build tool: compiles Lua files to bytecode with the LuaJIT that the
 * binary is linked with, and writes them as one C table. A file under lua/ is named after its path
 * there (lua/brood/init.lua is "brood"), any other after itself; debug information stays in, so
 * that tracebacks read "lua/brood/master.lua:12". It is no part of brood.
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

struct output {
	FILE *file;
	size_t size;
};

static int on_bytes(lua_State *L, const void *data, size_t size, void *arg)
{
	struct output *out = arg;
	const unsigned char *bytes = data;

	(void)L;
	for (size_t i = 0; i < size; i++, out->size++)
		fprintf(out->file, out->size % 32 == 31 ? "%u,\n" : "%u,", bytes[i]);
	return ferror(out->file);
}

/* Writes one array; its size follows in the table, where sizeof knows it. */
static int module_write(lua_State *L, const struct module *m, size_t index, FILE *file)
{
	struct output out = { file, 0 };
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
	else
		rc = lua_dump(L, on_bytes, &out);
	fprintf(file, "};\n");
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
