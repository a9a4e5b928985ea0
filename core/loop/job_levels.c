/*
 * job_levels.c - a list per priority, and a skip list of those. It does not know why a job waits.
 */
#include "loop/job_levels.h"

#include <errno.h>
#include <stdbool.h>

static struct job_level *level_of(struct job_link *list)
{
	return (struct job_level *)((char *)list - offsetof(struct job_level, jobs));
}

void levels_init(struct job_levels *ls, struct arena *arena)
{
	*ls = (struct job_levels){ .arena = arena, .seed = 0x9e3779b9 };
	ls->top.height = LEVEL_HEIGHT;
	job_link_init(&ls->top.jobs);
}

/* A quarter of each height's nodes are higher. */
static unsigned draw_height(struct job_levels *ls)
{
	unsigned height = 1;

	ls->seed ^= ls->seed << 13;
	ls->seed ^= ls->seed >> 17;
	ls->seed ^= ls->seed << 5;
	for (uint32_t bits = ls->seed; (bits & 3) == 0 && height < LEVEL_HEIGHT; bits >>= 2)
		height++;
	return height;
}

/* The last nodes before that priority, by height. */
static struct job_level *find(struct job_levels *ls, double priority, struct job_level **before)
{
	struct job_level *level = &ls->top;

	for (int h = LEVEL_HEIGHT - 1; h >= 0; h--) {
		while (level->next[h] && level->next[h]->priority > priority)
			level = level->next[h];
		before[h] = level;
	}
	level = level->next[0];
	return level && level->priority == priority ? level : NULL;
}

static void level_drop(struct job_levels *ls, struct job_level *level)
{
	struct job_level *before[LEVEL_HEIGHT];

	find(ls, level->priority, before);
	for (unsigned h = 0; h < level->height; h++)
		before[h]->next[h] = level->next[h];
	arena_put(ls->arena, level, sizeof(*level));
}

static bool is_empty(const struct job_level *level)
{
	return level->jobs.next == &level->jobs;
}

/* Found, or made; NULL without memory. Of empty levels only the recent one stays. */
static struct job_level *level_get(struct job_levels *ls, double priority)
{
	struct job_level *before[LEVEL_HEIGHT], *level = ls->recent;

	if (level && level->priority == priority)
		return level;
	if (level && is_empty(level))
		level_drop(ls, level);
	ls->recent = level = find(ls, priority, before);
	if (level)
		return level;
	level = arena_get(ls->arena, sizeof(*level));
	if (!level)
		return NULL;
	level->priority = priority;
	level->height = draw_height(ls);
	job_link_init(&level->jobs);
	for (unsigned h = 0; h < level->height; h++) {
		level->next[h] = before[h]->next[h];
		before[h]->next[h] = level;
	}
	ls->recent = level;
	return level;
}

int levels_add(struct job_levels *ls, struct job *job)
{
	struct job_level *level = level_get(ls, job->priority);

	if (!level)
		return -ENOMEM;
	job_link_before(&level->jobs, &job->link);
	return 0;
}

void levels_return(struct job_levels *ls, struct job *job)
{
	struct job_level *level = level_get(ls, job->priority);
	struct job_link *next;

	if (!level)
		level = &ls->top;
	next = level->jobs.next;
	while (next != &level->jobs && job_of(next)->order < job->order)
		next = next->next;
	job_link_before(next, &job->link);
}

void levels_remove(struct job_levels *ls, struct job *job)
{
	struct job_link *list = job->link.next;
	bool alone = list == job->link.prev; /* then both are its level's */

	job_unlink(&job->link);
	if (alone && list != &ls->top.jobs && level_of(list) != ls->recent)
		level_drop(ls, level_of(list));
}

static struct job *at_job(struct job_cursor *at)
{
	while (at->link == &at->level->jobs) {
		at->level = at->level->next[0];
		if (!at->level)
			return NULL;
		at->link = at->level->jobs.next;
	}
	return job_of(at->link);
}

struct job *levels_first(struct job_levels *ls, struct job_cursor *at)
{
	at->level = &ls->top;
	at->link = ls->top.jobs.next;
	return at_job(at);
}

struct job *levels_next(struct job_cursor *at)
{
	at->link = at->link->next;
	return at_job(at);
}
