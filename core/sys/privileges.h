/*
 * privileges.h - users and groups by name, and giving up root for good.
 */
#ifndef SYS_PRIVILEGES_H
#define SYS_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

struct account {
	uid_t uid;
	gid_t gid; /* -1 where a number has no entry */
	char name[256];
	char dir[1024];
	char shell[256];
};

struct account_group {
	gid_t gid;
	char name[256];
};

/* -ENOENT: nobody of that name. */
int user_by_name(struct account *out, const char *name);
int user_by_id(struct account *out, uid_t uid);
int group_by_name(struct account_group *out, const char *name);
int group_by_id(struct account_group *out, gid_t gid);
/* The supplementary groups of a user, gid among them: at most *n; -ERANGE when there are more. */
int user_groups(const char *name, gid_t gid, gid_t *out, int *n);

/*
 * Become uid and gid, with the supplementary groups of `user` (NULL: none but
 * gid), in all threads, and verify that there is no way back. After a failure
 * the process may be half way: it must end. Nothing to do (already so, and not root) is success.
 */
int privileges_drop(uid_t uid, gid_t gid, const char *user, const char **step);

#endif
