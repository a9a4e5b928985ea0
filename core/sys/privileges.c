/*
 * privileges.c - users and groups by name, and giving up root for good.
 *
 * This is for the process itself, with libc's calls that reach all its threads.
 * A program's ids are set in proc_exec.c, where libc's calls would be wrong.
 */
#include "sys/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The largest entry that is read: groups with thousands of members exist. */
#define ENTRY_MAX (4 * 1024 * 1024)

/* "Nobody of that name" comes as 0 or as one of several errnos; these alone mean that nobody could
 * look. */
static int lookup_error(int err)
{
	switch (err) {
	case EIO:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ERANGE: return -err;
	default: return -ENOENT;
	}
}

/* Exactly one of name and id counts: the id where name is NULL. */
static int account_find(struct account *out, const char *name, uid_t id)
{
	struct passwd entry, *found = NULL;
	char *buffer = NULL;
	int err = ERANGE;

	for (size_t size = 4096; err == ERANGE && size <= ENTRY_MAX; size *= 4) {
		free(buffer);
		buffer = malloc(size);
		if (!buffer)
			return -ENOMEM;
		do
			err = name ? getpwnam_r(name, &entry, buffer, size, &found)
				   : getpwuid_r(id, &entry, buffer, size, &found);
		while (err == EINTR);
	}
	if (found) {
		out->uid = found->pw_uid;
		out->gid = found->pw_gid;
		snprintf(out->name, sizeof(out->name), "%s", found->pw_name);
		snprintf(out->dir, sizeof(out->dir), "%s", found->pw_dir);
		snprintf(out->shell, sizeof(out->shell), "%s", found->pw_shell);
	}
	free(buffer);
	return found ? 0 : lookup_error(err);
}

int user_by_name(struct account *out, const char *name)
{
	return account_find(out, name, 0);
}

int user_by_id(struct account *out, uid_t uid)
{
	return account_find(out, NULL, uid);
}

static int group_find(struct account_group *out, const char *name, gid_t id)
{
	struct group entry, *found = NULL;
	char *buffer = NULL;
	int err = ERANGE;

	for (size_t size = 4096; err == ERANGE && size <= ENTRY_MAX; size *= 4) {
		free(buffer);
		buffer = malloc(size);
		if (!buffer)
			return -ENOMEM;
		do
			err = name ? getgrnam_r(name, &entry, buffer, size, &found)
				   : getgrgid_r(id, &entry, buffer, size, &found);
		while (err == EINTR);
	}
	if (found) {
		out->gid = found->gr_gid;
		snprintf(out->name, sizeof(out->name), "%s", found->gr_name);
	}
	free(buffer);
	return found ? 0 : lookup_error(err);
}

int group_by_name(struct account_group *out, const char *name)
{
	return group_find(out, name, 0);
}

int group_by_id(struct account_group *out, gid_t gid)
{
	return group_find(out, NULL, gid);
}

int user_groups(const char *name, gid_t gid, gid_t *out, int *n)
{
	return getgrouplist(name, gid, out, n) < 0 ? -ERANGE : 0;
}

static bool already(uid_t uid, gid_t gid)
{
	uid_t r, e, s;
	gid_t gr, ge, gs;

	if (getresuid(&r, &e, &s) < 0 || getresgid(&gr, &ge, &gs) < 0)
		return false;
	return r == uid && e == uid && s == uid && gr == gid && ge == gid && gs == gid;
}

/* What a master was given beside its user's rights, and what its programs would inherit. */
static int capabilities_drop(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

static int way_back_closed(uid_t uid, gid_t gid)
{
	if (!already(uid, gid))
		return -EPERM;
	/* Whoever is not root must not become it again: a capability that survived would allow it.
	 */
	if (uid != 0 && (setuid(0) == 0 || seteuid(0) == 0))
		return -EPERM;
	return 0;
}

int privileges_drop(uid_t uid, gid_t gid, const char *user, const char **step)
{
	int err;

	*step = "drop privileges";
	/* Not root, and told to become what we are: the supplementary groups are not ours to
	 * change. */
	if (geteuid() != 0 && already(uid, gid))
		return 0;
	*step = "set supplementary groups";
	if ((user ? initgroups(user, gid) : setgroups(1, &gid)) < 0)
		return -errno;
	*step = "set group";
	if (setresgid(gid, gid, gid) < 0)
		return -errno;
	*step = "set user";
	if (setresuid(uid, uid, uid) < 0)
		return -errno;
	*step = "give up privileges for good";
	err = uid != 0 ? capabilities_drop() : 0;
	return err ? err : way_back_closed(uid, gid);
}
