/* The round of the DLB game (jaxdlb/games/dlb) in plain C: one thread, one cluster after another.

   Compiled for one number of nodes: -DNUM_NODES=N -DMAX_DELAY=D -DCAPACITY=K. The imbalance is the variance of drain
   times, heartbeats are common to all receivers. An array that holds all clusters is laid out [cluster][node], as the
   arrays of the JAX game are; tasks and heartbeats under way are kept in rings, of which `slot` is the row that is due.
   `under_way` counts the tasks in the ring by the node that they are bound for.
*/

#include <stdint.h>

#define N NUM_NODES
#define SLOTS (MAX_DELAY + 1)
#define NOTHING_SENT (-1)

enum { ARRIVALS, COMPLETIONS, MIGRATIONS, STEAL_REQUESTS, STEALS, DROPS, TOTAL_LOAD, TOTAL_IN_TRANSIT, NODES_UP, COUNTS };

typedef struct {
    float arrival_prob[N], completion_prob[N];
    float failure_prob[N], repair_prob[N];
    float migration_cost, steal_cost, imbalance_weight, holding_weight, drop_cost, selfishness;
    int32_t transfer_delay, heartbeat_period, heartbeat_delay;
    int32_t heartbeat_phase[N];
} Params;

typedef struct {
    int32_t round, slot;
    int32_t load[N], under_way[N], heard_load[N], heard_age[N];
    uint8_t arrived[N], completed[N], alive[N];
    int32_t in_transit[SLOTS][N], heartbeats[SLOTS][N];
} Cluster;

/* What a round, or the sum of many, brought: rewards by node, and the metrics of the game. */
typedef struct {
    double reward[N];
    double imbalance, utility;
    int64_t counts[COUNTS];
} Tally;

static int32_t later(int32_t slot, int32_t delay) {
    slot += delay;
    return slot >= SLOTS ? slot - SLOTS : slot;
}

/* Stages 1 to 4: complete, steal, dispatch, land. Actions are those played: the own index where nothing may be done.
   What happens or not by chance is added as 0 or 1, since a branch on it would be mispredicted every other time. */
static void move_tasks(const Params *params, Cluster *cluster, const int32_t *dispatch, const int32_t *steal,
                       int32_t *drops, Tally *tally) {
    int32_t *load = cluster->load, *under_way = cluster->under_way, can_give[N];
    int32_t *due = cluster->in_transit[cluster->slot];
    int32_t *sent = cluster->in_transit[later(cluster->slot, params->transfer_delay)];
    int32_t arrivals = 0, completions = 0, requests = 0, steals = 0, migrations = 0, dropped = 0;
    for (int j = 0; j < N; j++) {
        load[j] -= cluster->completed[j];
        can_give[j] = cluster->alive[j] & (load[j] > 1) ? load[j] - 1 : 0;
        completions += cluster->completed[j];
        arrivals += cluster->arrived[j];
    }
    for (int turn = 0, thief = cluster->round % N; turn < N; turn++, thief = thief + 1 == N ? 0 : thief + 1) {
        int32_t victim = steal[thief], asked = victim != thief, granted = asked & (can_give[victim] > 0);
        can_give[victim] -= granted;
        load[victim] -= granted;
        sent[thief] += granted;
        under_way[thief] += granted;
        requests += asked;
        steals += granted;
    }
    for (int i = 0; i < N; i++) {
        int32_t migrated = dispatch[i] != i;
        load[i] += cluster->arrived[i] - migrated;
        sent[dispatch[i]] += migrated;
        under_way[dispatch[i]] += migrated;
        migrations += migrated;
    }
    for (int j = 0; j < N; j++) {
        int32_t total = load[j] + due[j];
        under_way[j] -= due[j];
        due[j] = 0;
        load[j] = total < CAPACITY ? total : CAPACITY;
        drops[j] = total - load[j];
        dropped += drops[j];
    }
    tally->counts[ARRIVALS] += arrivals;
    tally->counts[COMPLETIONS] += completions;
    tally->counts[MIGRATIONS] += migrations;
    tally->counts[STEAL_REQUESTS] += requests;
    tally->counts[STEALS] += steals;
    tally->counts[DROPS] += dropped;
}

/* Stage 6: heartbeats, of the nodes that are up after churn. Phases are below the period. */
static void hear(const Params *params, Cluster *cluster) {
    int32_t *due = cluster->heartbeats[cluster->slot];
    int32_t *sent = cluster->heartbeats[later(cluster->slot, params->heartbeat_delay)];
    int32_t now = cluster->round % params->heartbeat_period;
    for (int j = 0; j < N; j++)
        if (cluster->alive[j] && params->heartbeat_phase[j] == now) sent[j] = cluster->load[j];
    for (int j = 0; j < N; j++) {
        int heard = due[j] != NOTHING_SENT;
        cluster->heard_load[j] = heard ? due[j] : cluster->heard_load[j];
        cluster->heard_age[j] = heard ? params->heartbeat_delay : cluster->heard_age[j] + 1;
        due[j] = NOTHING_SENT;
    }
}

/* Stage 7: utility and rewards, from the tasks bound for each node after landing: its load, and what is under way. */
static void reward(const Params *params, const Cluster *cluster, const int32_t *dispatch, const int32_t *steal,
                   const int32_t *drops, Tally *tally) {
    float drain[N], utility[N], mean = 0, mean_utility = 0, imbalance = 0;
    int32_t bound[N], total_load = 0, total_in_transit = 0, nodes_up = 0;
    for (int i = 0; i < N; i++) {
        bound[i] = cluster->load[i] + cluster->under_way[i];
        drain[i] = bound[i] / params->completion_prob[i];
        mean += drain[i];
        total_load += cluster->load[i];
        total_in_transit += cluster->under_way[i];
        nodes_up += cluster->alive[i];
    }
    tally->counts[TOTAL_LOAD] += total_load;
    tally->counts[TOTAL_IN_TRANSIT] += total_in_transit;
    tally->counts[NODES_UP] += nodes_up;
    mean /= N;
    for (int i = 0; i < N; i++) {
        float apart = (drain[i] - mean) * (drain[i] - mean);
        imbalance += apart;
        utility[i] = -(params->imbalance_weight * apart + params->holding_weight * bound[i]
                       + params->migration_cost * (dispatch[i] != i) + params->steal_cost * (steal[i] != i)
                       + params->drop_cost * drops[i]);
        mean_utility += utility[i];
    }
    mean_utility /= N;
    tally->imbalance += imbalance / N;
    tally->utility += mean_utility;
    for (int i = 0; i < N; i++)
        tally->reward[i] += (1 - params->selfishness) * mean_utility + params->selfishness * utility[i];
}

static void next_round(Cluster *cluster) {
    cluster->round++;
    cluster->slot = later(cluster->slot, 1);
}

/* One round of each of `num_clusters`, with actions as played and all that chance decides handed in. */
void play_given(int64_t num_clusters, const Params *params, Cluster *clusters, const int32_t *dispatch,
                const int32_t *steal, const uint8_t *alive, const uint8_t *arrived, const uint8_t *completed,
                Tally *tallies) {
    for (int64_t e = 0; e < num_clusters; e++) {
        int32_t drops[N];
        Cluster *cluster = &clusters[e];
        move_tasks(&params[e], cluster, dispatch + e * N, steal + e * N, drops, &tallies[e]);
        for (int i = 0; i < N; i++) cluster->alive[i] = alive[e * N + i];
        hear(&params[e], cluster);
        reward(&params[e], cluster, dispatch + e * N, steal + e * N, drops, &tallies[e]);
        for (int i = 0; i < N; i++) {
            cluster->arrived[i] = arrived[e * N + i];
            cluster->completed[i] = completed[e * N + i];
        }
        next_round(cluster);
    }
}

/* xorshift64* (Vigna 2016, doi 10.1145/2845077): the upper 32 bits of its product. */
static uint32_t draw(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)((*state * UINT64_C(2685821657736338717)) >> 32);
}

static int happens(uint64_t *random, float probability) {
    return (draw(random) >> 8) * 0x1p-24f < probability;
}

static int32_t any_node(uint64_t *random) {
    return (int32_t)(((uint64_t)draw(random) * N) >> 32);
}

/* `num_rounds` rounds of each cluster: its own random events, and a policy uniform over the legal choices. */
void play_random(int64_t num_clusters, int64_t num_rounds, uint64_t *random_states, const Params *params,
                 Cluster *clusters, Tally *tallies) {
    for (int64_t r = 0; r < num_rounds; r++) {
        for (int64_t e = 0; e < num_clusters; e++) {
            int32_t dispatch[N], steal[N], drops[N];
            const Params *p = &params[e];
            Cluster *cluster = &clusters[e];
            uint64_t random = random_states[e];
            for (int i = 0; i < N; i++) {
                int32_t to = any_node(&random), from = any_node(&random);
                dispatch[i] = cluster->arrived[i] ? to : i;
                steal[i] = cluster->completed[i] ? from : i;
            }
            move_tasks(p, cluster, dispatch, steal, drops, &tallies[e]);
            for (int i = 0; i < N; i++) {
                float change = cluster->alive[i] ? p->failure_prob[i] : p->repair_prob[i];
                if (change > 0) cluster->alive[i] ^= happens(&random, change);
            }
            hear(p, cluster);
            reward(p, cluster, dispatch, steal, drops, &tallies[e]);
            for (int i = 0; i < N; i++) {
                cluster->arrived[i] = cluster->alive[i] & happens(&random, p->arrival_prob[i]);
                cluster->completed[i] = cluster->alive[i] & (cluster->load[i] > 0) & happens(&random, p->completion_prob[i]);
            }
            random_states[e] = random;
            next_round(cluster);
        }
    }
}
