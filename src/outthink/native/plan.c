/* Which rows see which blocks of keys: rows whose views agree on a block share it. */
#include <stdlib.h>
#include "native.h"

typedef struct {
    const Segment *segments;
    const int *segment, *context;
} Views;

static int min(int a, int b) { return a < b ? a : b; }

/* How many slots the views of two rows have in common, from the front. Parents come before children, so the
 * later of two segments is never above the other. */
static int common(const Views *v, int a, int b)
{
    int s = v->segment[a], t = v->segment[b], n = min(v->context[a], v->context[b]);
    while (s != t) {
        int *later = s > t ? &s : &t;
        n = min(n, v->segments[*later].begin);
        *later = v->segments[*later].parent;
    }
    return n;
}

/* The slots of a task's block, from the view of one row. */
static void fill(const Views *v, int row, Task *task)
{
    const int low = task->block * BLOCK;
    int s = v->segment[row], high = low + task->keys;
    for (;;) {
        const Segment *at = v->segments + s;
        int from = at->begin > low ? at->begin : low;
        for (int p = from; p < high; p++) task->slots[p - low] = at->start + p - at->begin;
        high = min(high, from);
        if (at->begin <= low) return;
        s = at->parent;
    }
}

/* The tasks of one block for the rows of a chunk; how many, or -1 without memory. */
static int block_tasks(const Views *v, const Chunk *chunk, int block, Task **tasks, int *room, int count)
{
    const int low = block * BLOCK;
    int row = chunk->first, longest = 0; /* the row that sees most of the block, in the task being made */
    Task *task = NULL;
    for (; row < chunk->last; row++) {
        int seen = min(v->context[row] - low, BLOCK);
        if (seen <= 0) {
            task = NULL;
            continue;
        }
        if (task && common(v, longest, row) >= low + min(task->keys, seen)) {
            task->last = row + 1;
            if (seen > task->keys) task->keys = seen, longest = row, fill(v, row, task);
            continue;
        }
        if (count == *room) {
            int more = *room ? 2 * *room : 256;
            Task *grown = realloc(*tasks, more * sizeof(Task));
            if (!grown) return -1;
            *tasks = grown, *room = more;
        }
        task = *tasks + count++;
        task->block = block, task->first = row, task->last = row + 1, task->keys = seen;
        longest = row;
        fill(v, row, task);
    }
    return count;
}

/* Chunks of at most 64 query heads of a key head, each with its tasks. The number of chunks, or -1. */
int plan_attention(const Segment *segments, const int *segment, const int *context, int rows, int group,
                   Chunk **chunks, int *chunk_room, Task **tasks, int *task_room)
{
    const Views views = {segments, segment, context};
    const int most = group < QUERIES ? QUERIES / group : 1, needed = (rows + most - 1) / most;
    int count = 0;
    if (needed > *chunk_room) {
        Chunk *grown = realloc(*chunks, needed * sizeof(Chunk));
        if (!grown) return -1;
        *chunks = grown, *chunk_room = needed;
    }
    for (int c = 0, row = 0; c < needed; c++) {
        Chunk *chunk = *chunks + c;
        int longest = 0;
        chunk->first = row;
        row += (rows - row + needed - c - 1) / (needed - c);
        chunk->last = row;
        chunk->begin = count;
        for (int r = chunk->first; r < row; r++) longest = context[r] > longest ? context[r] : longest;
        for (int block = 0; block * BLOCK < longest; block++)
            if ((count = block_tasks(&views, chunk, block, tasks, task_room, count)) < 0) return -1;
        chunk->end = count;
    }
    return needed;
}
