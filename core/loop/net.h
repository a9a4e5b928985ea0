/*
 * net.h - plain stream connections: accepted for an application, or made by it.
 * Bytes are read only when somebody waits for them, so a peer is slowed down by its reader.
 */
#ifndef LOOP_NET_H
#define LOOP_NET_H

#include "loop/conn.h"

struct net_server;
struct net_conn;

/* What the application hangs onto a connection, 0 where it has none. */
struct net_refs {
	int read, drain;
};

struct net_app {
	void (*connection)(void *data, struct net_conn *c);
	/* After net_server_shutdown or _close, when the last connection is gone; the server has
	 * been freed. */
	void (*stopped)(void *data);
};

/* Whoever waits looks again: there is something to read, room to write, or an end. */
typedef void (*net_wake_cb)(struct net_conn *c, bool read, bool write);

int net_server_open(struct net_server **out, uv_loop_t *loop, const struct net_app *app,
		    void *data);
/* Before the first connection: cut those on which nothing has moved for so long; 0: never. */
void net_server_idle_timeout(struct net_server *s, uint64_t ms);
/* fd is borrowed. */
int net_server_listen(struct net_server *s, int fd);
/* Accept no more, and wait until the application has closed what there is. */
void net_server_shutdown(struct net_server *s);
/* Cut what there is. */
void net_server_close(struct net_server *s);
uint64_t net_server_connections(const struct net_server *s);

/* One wake function for all connections of the process. */
void net_set_wake(net_wake_cb wake);
/* Takes a connected socket. */
int net_conn_open(struct net_conn **out, uv_loop_t *loop, int fd, const struct sockaddr *peer);
uint64_t net_life(const struct net_conn *c);
bool net_alive(const struct net_conn *c, uint64_t life);
struct net_refs *net_refs(struct net_conn *c);
const struct conn_peer *net_peer(const struct net_conn *c);

/*
 * Bytes in a buffer that is valid until the next call; 0: the end; -EAGAIN: wait, wake will
 * be called; or -errno.
 */
ssize_t net_read(struct net_conn *c, const char **bytes);
/*
 * 1: so much waits that the writer should wait. After -errno no write succeeds any more;
 * what the peer sent before it went is still there to read.
 */
int net_write(struct net_conn *c, const char *bytes, size_t len);
/* Send what waits, then the end of our side. Reading goes on. */
void net_end(struct net_conn *c);
/* Whether the loop lives on for this connection. Without, it is watched for its end at once. */
int net_keep(struct net_conn *c, bool keep);
/* Send what waits, then close. False: that takes a while; wake(write) follows. */
bool net_close(struct net_conn *c);
/* Whether nothing of it is left to send, as far as we know. */
bool net_closed(const struct net_conn *c, uint64_t life);
/* Close now; the peer sees that something is missing. */
void net_abort(struct net_conn *c);

#endif
