/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation. Boxes in boxes: nodes flow in rows over the sheet, the L3 domains of a node over its box, the cores
 * of an L3 domain over its. All boxes of a level have one size, that of the largest; all numbers are whole pixels. What a
 * core is for is told by words and patterns, colours only tell guests apart: twelve tints, given out in the order of the
 * guests' names, so that neighbours differ.
 */

#include "codec/svg.h"

#include <errno.h>
#include <libxml/xmlwriter.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/svg_parts.h"
#include "util/cleanup.h"
#include "util/err.h"

#define SHEET 1560 /* as wide as the picture may become while there is a choice */
#define MARGIN 16
#define GAP 5
#define CELL_HIGH 54
#define BAR_HIGH 17 /* the CPUs of a core */
#define HEAD 22 /* a box's heading */
#define LEGEND_WIDE 250
#define LEGEND_LINE 20
#define GUESTS_SHOWN 120u

static const char *const tints[] = { "#a6cee3", "#fdbf6f", "#b2df8a", "#cab2d6", "#ffe680", "#f4a6b8",
				     "#8dd3c7", "#d9b99b", "#c9d66b", "#9fb3f2", "#f7c8a0", "#a9dfc4" };

struct words {
	const char *class;
	const char *cell; /* in the core's cell */
	const char *legend;
};

static const struct words uses[VBMQ_SVG_USES] = {
	[VBMQ_SVG_SHARED] = { "shared", "shared", "shared set: host, emulators, floating vCPUs" },
	[VBMQ_SVG_RESERVED] = { "reserved", "reserved", "shared set, reserved: never dedicated" },
	[VBMQ_SVG_DEDICATED] = { "own", NULL, "dedicated: I/O thread (thick frame) or vCPU" },
	[VBMQ_SVG_PINNED] = { "pinned", NULL, "taken: pinned by its owner" },
	[VBMQ_SVG_ISOLATED] = { "isolated", "isolated", "isolated and free" },
	[VBMQ_SVG_UNUSABLE] = { "off", "unusable", "unusable: offline or not allowed" },
};

static const char style[] =
	"text{font-family:'DejaVu Sans',Verdana,Arial,sans-serif;font-size:10px;fill:#1a1a1a}"
	".h1{font-size:18px;font-weight:bold}.h2{font-size:12px}.node{font-size:13px;font-weight:bold}"
	".small{font-size:9px}.mid{text-anchor:middle}.name{font-weight:bold}.dim{fill:#707070}"
	".sheet{fill:#ffffff}.nodebox{fill:#f3f3f3;stroke:#606060}.l3box{fill:#ffffff;stroke:#a0a0a0}"
	".core,.own,.reserved,.pinned,.isolated,.off{stroke:#606060}.shared{fill:#ffffff;stroke:#b0b0b0}.reserved{fill:"
	"url(#dots)}.pinned{fill:url(#"
	"lines)}"
	".isolated{fill:#ffffff;stroke-dasharray:4,3}.off{fill:url(#cross)}.io{stroke:#000000;stroke-width:2.5}"
	".cpu{fill:#ffffff;stroke:#808080}.idle{stroke-dasharray:2,2}.runs{stroke:#000000}.gone{fill:url(#cross)}";

struct picture {
	xmlTextWriter *w;
	const struct vbmq_svg_map *m;
	const struct vbmq_plan *plan;
	bool failed; /* out of memory: nothing is done from then on */
	int cell_wide, l3_columns, l3_wide, l3_high, l3s_across, node_wide, node_high, nodes_across;
};

/* --- writing ---------------------------------------------------------------------------------------------------------- */

static void latch(struct picture *x, int r)
{
	x->failed |= r < 0;
}

static void open_tag(struct picture *x, const char *name)
{
	if (!x->failed)
		latch(x, xmlTextWriterStartElement(x->w, (const xmlChar *)name));
}

static void close_tag(struct picture *x)
{
	if (!x->failed)
		latch(x, xmlTextWriterEndElement(x->w));
}

static void attr(struct picture *x, const char *name, const char *value)
{
	if (!x->failed)
		latch(x, xmlTextWriterWriteAttribute(x->w, (const xmlChar *)name, (const xmlChar *)value));
}

static void num(struct picture *x, const char *name, int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);
	attr(x, name, text);
}

static void put_text(struct picture *x, const char *text)
{
	if (!x->failed)
		latch(x, xmlTextWriterWriteString(x->w, (const xmlChar *)text));
}

/* An open <rect>; the caller adds what else it has and closes it. */
static void open_rect(struct picture *x, int left, int top, int wide, int high, const char *class)
{
	open_tag(x, "rect");
	num(x, "x", left);
	num(x, "y", top);
	num(x, "width", wide);
	num(x, "height", high);
	attr(x, "class", class);
}

static void rect(struct picture *x, int left, int top, int wide, int high, const char *class)
{
	open_rect(x, left, top, wide, high, class);
	close_tag(x);
}

/* text must be clean. */
static void label(struct picture *x, int left, int base, const char *class, const char *text)
{
	open_tag(x, "text");
	num(x, "x", left);
	num(x, "y", base);
	if (*class)
		attr(x, "class", class);
	put_text(x, text);
	close_tag(x);
}

/* Any text, cut to so many pixels. */
static void fitted(struct picture *x, int left, int base, int wide, unsigned size, const char *class, const char *text)
{
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	_cleanup_free_ char *clean = NULL;

	vbmq_svg_fit(text, wide > 0 ? (unsigned)wide : 0, size, &b);
	clean = vbmq_strbuf_steal(&b);
	if (clean)
		label(x, left, base, class, clean);
	else
		x->failed = true;
}

static const char *tint(const struct picture *x, uint32_t domain)
{
	uint32_t guest = domain == VBMQ_SVG_NOBODY ? VBMQ_SVG_NOBODY : x->m->guest_of[domain];

	return guest == VBMQ_SVG_NOBODY ? "#ffffff" : tints[guest % VBMQ_ELEMENTSOF(tints)];
}

/* --- patterns --------------------------------------------------------------------------------------------------------- */

static void pattern(struct picture *x, const char *id, const char *background, const char *path)
{
	open_tag(x, "pattern");
	attr(x, "id", id);
	num(x, "width", 8);
	num(x, "height", 8);
	attr(x, "patternUnits", "userSpaceOnUse");
	open_tag(x, "rect");
	num(x, "width", 8);
	num(x, "height", 8);
	attr(x, "fill", background);
	close_tag(x);
	open_tag(x, "path");
	attr(x, "d", path);
	attr(x, "stroke", "#9a9a9a");
	attr(x, "fill", "none");
	close_tag(x);
	close_tag(x);
}

static void definitions(struct picture *x)
{
	open_tag(x, "style");
	attr(x, "type", "text/css");
	put_text(x, style);
	close_tag(x);
	open_tag(x, "defs");
	pattern(x, "dots", "#ffffff", "M2,2h1M6,6h1");
	pattern(x, "lines", "#ececec", "M-2,2l4,-4M0,8l8,-8M6,10l4,-4");
	pattern(x, "cross", "#d8d8d8", "M0,0l8,8M0,8l8,-8");
	close_tag(x);
}

/* --- a core ----------------------------------------------------------------------------------------------------------- */

static void draw_cpu(struct picture *x, unsigned cpu, int left, int top, int wide)
{
	const struct vbmq_host *h = x->m->snapshot->host;
	const bool runs = x->m->owner_of[cpu] != VBMQ_SVG_NOBODY;
	const bool idle = !runs && vbmq_cpuset_has(&x->m->placement->dedicated, cpu);
	char text[16];

	open_rect(x, left, top, wide, BAR_HIGH,
		  !vbmq_cpuset_has(&h->usable, cpu) ? "cpu gone"
		  : runs			    ? "cpu runs"
		  : idle			    ? "cpu idle"
						    : "cpu");
	if (runs) {
		_cleanup_free_ char *fill = NULL;

		if (asprintf(&fill, "fill:%s", tint(x, x->m->owner_of[cpu])) < 0) {
			fill = NULL;
			x->failed = true;
		} else {
			attr(x, "style", fill);
		}
	}
	close_tag(x);
	snprintf(text, sizeof(text), "%u", cpu);
	label(x, left + wide / 2, top + BAR_HIGH - 5, runs ? "small mid name" : "small mid", text);
}

static void draw_words(struct picture *x, const struct vbmq_svg_core *core, int left, int top)
{
	const int room = x->cell_wide - 8;
	char thread[64];
	size_t used;

	if (uses[core->use].cell || core->domain == VBMQ_SVG_NOBODY) {
		label(x, left + x->cell_wide / 2, top + 20,
		      core->use == VBMQ_SVG_SHARED ? "small mid dim" : "small mid",
		      uses[core->use].cell ? uses[core->use].cell : "taken");
		return;
	}
	fitted(x, left + 5, top + 13, room, 10, "name", x->m->placement->domains[core->domain].name);
	vbmq_svg_thread_name(core->thread, thread);
	used = strlen(thread);
	if (core->use == VBMQ_SVG_PINNED)
		snprintf(thread, sizeof(thread), "taken");
	else if (core->n_more)
		snprintf(thread + used, sizeof(thread) - used, " +%u", core->n_more);
	fitted(x, left + 5, top + 26, room, 9, "small", thread);
}

static void draw_core(struct picture *x, uint32_t index, int left, int top)
{
	const struct vbmq_cpuset *cpus = &x->m->snapshot->host->cores[index].cpus;
	const struct vbmq_svg_core *core = &x->m->cores[index];
	const int n = (int)vbmq_cpuset_count(cpus), room = x->cell_wide - 6 - 2 * (n - 1);
	bool io = core->use == VBMQ_SVG_DEDICATED && core->thread && core->thread->kind == VBMQ_THREAD_IOTHREAD;
	struct vbmq_strbuf tip = VBMQ_STRBUF_INIT;
	_cleanup_free_ char *text = NULL, *fill = NULL;
	int i = 0;

	open_tag(x, "g");
	open_tag(x, "title");
	vbmq_svg_tip(x->m, index, &tip);
	text = vbmq_strbuf_steal(&tip);
	if (text)
		put_text(x, text);
	x->failed |= !text;
	close_tag(x);
	open_rect(x, left, top, x->cell_wide, CELL_HIGH, uses[core->use].class);
	if (core->use == VBMQ_SVG_DEDICATED) {
		if (asprintf(&fill, "fill:%s%s", tint(x, core->domain), io ? ";stroke:#000000;stroke-width:2.5" : "") <
		    0) {
			fill = NULL;
			x->failed = true;
		} else {
			attr(x, "style", fill);
		}
	}
	close_tag(x);
	draw_words(x, core, left, top);
	for (int cpu = vbmq_cpuset_next(cpus, 0); cpu >= 0; cpu = vbmq_cpuset_next(cpus, (unsigned)cpu + 1), i++)
		draw_cpu(x, (unsigned)cpu, left + 3 + i * (room / n + 2), top + CELL_HIGH - BAR_HIGH - 3, room / n);
	close_tag(x);
}

/* --- boxes ------------------------------------------------------------------------------------------------------------ */

static bool in_box(const struct vbmq_host *h, uint32_t core, uint32_t node, uint32_t l3)
{
	return h->cores[core].node == node && h->cores[core].l3 == l3;
}

static int cores_in(const struct vbmq_host *h, uint32_t node, uint32_t l3)
{
	int n = 0;

	for (uint32_t c = 0; c < h->n_cores; c++)
		n += in_box(h, c, node, l3);
	return n;
}

static int l3s_in(const struct vbmq_host *h, uint32_t node)
{
	int n = 0;

	for (uint32_t i = 0; i < h->n_l3s; i++)
		n += cores_in(h, node, i) > 0;
	return n;
}

static int at_least(int value, int least)
{
	return value < least ? least : value;
}

/* Sizes of all boxes, and how many stand side by side. */
static void measure(struct picture *x)
{
	const struct vbmq_host *h = x->m->snapshot->host;
	int most_cpus = 1, most_cores = 1, most_l3s = 1, nodes = 0;

	for (size_t c = 0; c < h->n_cores; c++)
		most_cpus = at_least((int)vbmq_cpuset_count(&h->cores[c].cpus), most_cpus);
	for (uint32_t n = 0; n < h->n_nodes; n++) {
		int l3s = l3s_in(h, n);

		nodes += l3s > 0;
		most_l3s = at_least(l3s, most_l3s);
		for (uint32_t i = 0; i < h->n_l3s; i++)
			most_cores = at_least(cores_in(h, n, i), most_cores);
	}
	x->cell_wide = at_least(h->n_cores > 32 ? 84 : 104, 6 + 27 * most_cpus);
	x->l3_columns = most_cores < 4 ? most_cores : 4;
	while (x->l3_columns * x->l3_columns < most_cores && x->l3_columns * (x->cell_wide + GAP) < SHEET)
		x->l3_columns++;
	x->l3_wide = x->l3_columns * (x->cell_wide + GAP) + GAP;
	x->l3_high = HEAD + (most_cores + x->l3_columns - 1) / x->l3_columns * (CELL_HIGH + GAP) + GAP;
	x->l3s_across = (SHEET - 2 * GAP) / (x->l3_wide + GAP);
	x->l3s_across = at_least(x->l3s_across < most_l3s ? x->l3s_across : most_l3s, 1);
	/* Rows of equal length rather than a short last one. */
	x->l3s_across = (most_l3s + (most_l3s + x->l3s_across - 1) / x->l3s_across - 1) /
			((most_l3s + x->l3s_across - 1) / x->l3s_across);
	x->node_wide = at_least(x->l3s_across * (x->l3_wide + GAP) + GAP, 320);
	x->node_high = 2 * HEAD + (most_l3s + x->l3s_across - 1) / x->l3s_across * (x->l3_high + GAP) + GAP;
	x->nodes_across = at_least((SHEET + MARGIN) / (x->node_wide + MARGIN), 1);
	if (x->nodes_across > nodes)
		x->nodes_across = at_least(nodes, 1);
}

static void draw_l3(struct picture *x, uint32_t node, uint32_t l3, int left, int top)
{
	const struct vbmq_host *h = x->m->snapshot->host;
	char text[32];
	int i = 0;

	rect(x, left, top, x->l3_wide, x->l3_high, "l3box");
	snprintf(text, sizeof(text), "L3 domain %u", l3);
	label(x, left + GAP, top + 15, "", text);
	for (uint32_t c = 0; c < h->n_cores; c++) {
		if (!in_box(h, c, node, l3))
			continue;
		draw_core(x, c, left + GAP + i % x->l3_columns * (x->cell_wide + GAP),
			  top + HEAD + i / x->l3_columns * (CELL_HIGH + GAP));
		i++;
	}
}

static void draw_node(struct picture *x, uint32_t node, int left, int top)
{
	const struct vbmq_host *h = x->m->snapshot->host;
	struct vbmq_cpuset shared = vbmq_cpuset_and(&x->m->placement->shared, &h->nodes[node].cpus);
	struct vbmq_cpuset usable = vbmq_cpuset_and(&h->usable, &h->nodes[node].cpus);
	_cleanup_free_ char *list = vbmq_cpulist_format(&shared), *text = NULL;
	char title[32];
	int i = 0;

	if (!list || asprintf(&text, "shared set (%u of %u CPUs): %s", vbmq_cpuset_count(&shared),
			      vbmq_cpuset_count(&usable), *list ? list : "none") < 0) {
		text = NULL;
		x->failed = true;
		return;
	}
	rect(x, left, top, x->node_wide, x->node_high, "nodebox");
	snprintf(title, sizeof(title), "node %u", h->nodes[node].id);
	label(x, left + GAP + 2, top + 17, "node", title);
	fitted(x, left + GAP + 2, top + 34, x->node_wide - 3 * GAP, 10, "", text);
	for (uint32_t l3 = 0; l3 < h->n_l3s; l3++) {
		if (!cores_in(h, node, l3))
			continue;
		draw_l3(x, node, l3, left + GAP + i % x->l3s_across * (x->l3_wide + GAP),
			top + 2 * HEAD + i / x->l3s_across * (x->l3_high + GAP));
		i++;
	}
}

/* --- head and legend -------------------------------------------------------------------------------------------------- */

static void draw_head(struct picture *x, int wide)
{
	const struct vbmq_host *h = x->m->snapshot->host;
	const struct vbmq_placement *p = x->m->placement;
	_cleanup_free_ char *host = NULL, *id = NULL, *what = NULL;

	if (asprintf(&host, "host %s", h->name) < 0)
		host = NULL;
	if (asprintf(&id, "plan %s", x->plan->id) < 0)
		id = NULL;
	if (asprintf(&what, "%u CPUs, %zu cores, %zu L3 domains, %zu nodes; %u CPUs on dedicated cores, %u shared%s",
		     vbmq_cpuset_count(&h->usable), h->n_cores, h->n_l3s, h->n_nodes, vbmq_cpuset_count(&p->dedicated),
		     vbmq_cpuset_count(&p->shared), p->infeasible ? "; SOME WISHES ARE NOT FULFILLED" : "") < 0)
		what = NULL;
	if (!host || !id || !what) {
		x->failed = true;
		return;
	}
	fitted(x, MARGIN, 26, wide - 2 * MARGIN, 18, "h1", host);
	label(x, MARGIN, 44, "h2", id);
	label(x, MARGIN, 60, "h2", what);
}

static int legend_lines(size_t n, int across)
{
	return (int)((n + (size_t)across - 1) / (size_t)across);
}

/* One entry of the explanation; dedicated cores have a colour besides. */
static void draw_use(struct picture *x, int across, int top, int index, const char *class, const char *fill,
		     const char *text)
{
	const int left = MARGIN + index % across * LEGEND_WIDE, y = top + index / across * LEGEND_LINE;

	open_rect(x, left, y, 28, 14, class);
	if (fill)
		attr(x, "style", fill);
	close_tag(x);
	label(x, left + 34, y + 11, "small", text);
}

/* What is there to be explained, and how many entries that makes: dedicated cores take four. */
static int find_uses(const struct picture *x, bool seen[VBMQ_SVG_USES])
{
	int n = 0;

	memset(seen, 0, VBMQ_SVG_USES * sizeof(*seen));
	for (size_t c = 0; c < x->m->snapshot->host->n_cores; c++)
		seen[x->m->cores[c].use] = true;
	for (int use = 0; use < VBMQ_SVG_USES; use++)
		n += !seen[use] ? 0 : use == VBMQ_SVG_DEDICATED ? 4 : 1;
	return n;
}

static void draw_uses(struct picture *x, int across, int top)
{
	bool seen[VBMQ_SVG_USES];
	int i = 0;

	find_uses(x, seen);
	for (int use = 0; use < VBMQ_SVG_USES; use++) {
		if (!seen[use])
			continue;
		if (use == VBMQ_SVG_DEDICATED) {
			draw_use(x, across, top, i++, "own", "fill:#dddddd;stroke:#000000;stroke-width:2.5",
				 "dedicated to an I/O thread");
			draw_use(x, across, top, i++, "own", "fill:#dddddd", "dedicated to a vCPU");
			draw_use(x, across, top, i++, "cpu runs", "fill:#dddddd", "CPU: a thread's own");
			draw_use(x, across, top, i++, "cpu idle", NULL, "CPU: idle sibling of a dedicated one");
		} else {
			draw_use(x, across, top, i++, uses[use].class, NULL, uses[use].legend);
		}
	}
}

static void draw_guest(struct picture *x, const struct vbmq_svg_guest *g, int left, int top)
{
	_cleanup_free_ char *fill = NULL;
	char count[64];
	int n = 0;

	if (asprintf(&fill, "fill:%s", tint(x, g->domain)) < 0) {
		fill = NULL;
		x->failed = true;
		return;
	}
	open_rect(x, left, top, 28, 14, "core");
	attr(x, "style", fill);
	close_tag(x);
	fitted(x, left + 34, top + 11, 120, 10, "name", x->m->placement->domains[g->domain].name);
	count[0] = '\0';
	if (g->iothreads)
		n += snprintf(count + n, sizeof(count) - (size_t)n, "%u I/O", g->iothreads);
	if (g->vcpus)
		n += snprintf(count + n, sizeof(count) - (size_t)n, "%s%u vCPU", n ? ", " : "", g->vcpus);
	if (g->pinned)
		n += snprintf(count + n, sizeof(count) - (size_t)n, "%s%u pinned", n ? ", " : "", g->pinned);
	label(x, left + 158, top + 11, "small", count);
}

/* Lines of the legend: what cores are for, and whose they are. */
static int legend_uses(const struct picture *x, int across)
{
	bool seen[VBMQ_SVG_USES];

	return legend_lines((size_t)find_uses(x, seen), across);
}

static int legend_guests(const struct picture *x, int across)
{
	const size_t n = x->m->n_guests;

	return n > GUESTS_SHOWN ? legend_lines(GUESTS_SHOWN, across) + 1 : legend_lines(n, across);
}

static void draw_legend(struct picture *x, int across, int top)
{
	const size_t n = x->m->n_guests, shown = n > GUESTS_SHOWN ? GUESTS_SHOWN : n;
	char text[64];

	draw_uses(x, across, top);
	top += legend_uses(x, across) * LEGEND_LINE + GAP;
	for (size_t i = 0; i < shown; i++)
		draw_guest(x, &x->m->guests[i], MARGIN + (int)i % across * LEGEND_WIDE,
			   top + (int)i / across * LEGEND_LINE);
	if (n > shown) {
		snprintf(text, sizeof(text), "and %zu more guests with cores of their own", n - shown);
		label(x, MARGIN, top + legend_lines(shown, across) * LEGEND_LINE + 11, "small", text);
	}
}

/* --- the sheet -------------------------------------------------------------------------------------------------------- */

static void draw(struct picture *x)
{
	const struct vbmq_host *h = x->m->snapshot->host;
	const int top = 74;
	int nodes = 0, wide, high, across, legend;

	measure(x);
	for (uint32_t n = 0; n < h->n_nodes; n++)
		nodes += l3s_in(h, n) > 0;
	wide = at_least(2 * MARGIN + x->nodes_across * (x->node_wide + MARGIN) - MARGIN, 2 * MARGIN + 3 * LEGEND_WIDE);
	across = (wide - 2 * MARGIN) / LEGEND_WIDE;
	legend = top + (nodes + x->nodes_across - 1) / x->nodes_across * (x->node_high + MARGIN);
	high = legend + (legend_uses(x, across) + legend_guests(x, across)) * LEGEND_LINE + GAP + MARGIN;
	open_tag(x, "svg");
	attr(x, "xmlns", "http://www.w3.org/2000/svg");
	attr(x, "version", "1.1");
	num(x, "width", wide);
	num(x, "height", high);
	definitions(x);
	rect(x, 0, 0, wide, high, "sheet");
	draw_head(x, wide);
	nodes = 0;
	for (uint32_t n = 0; n < h->n_nodes; n++) {
		if (!l3s_in(h, n))
			continue;
		draw_node(x, n, MARGIN + nodes % x->nodes_across * (x->node_wide + MARGIN),
			  top + nodes / x->nodes_across * (x->node_high + MARGIN));
		nodes++;
	}
	draw_legend(x, across, legend);
	close_tag(x);
}

int vbmq_svg_format(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, const struct vbmq_plan *plan,
		    char **ret, struct vbmq_err *err)
{
	struct vbmq_svg_map *m = malloc(sizeof(*m)); /* too large for the stack */
	struct picture x = { .m = m, .plan = plan };
	xmlBuffer *buffer = xmlBufferCreate();
	char *text = NULL;

	if (!m || vbmq_svg_map(s, policy, plan->placement, m) < 0) {
		free(m);
		xmlBufferFree(buffer);
		return vbmq_err_oom(err);
	}
	x.w = buffer ? xmlNewTextWriterMemory(buffer, 0) : NULL;
	x.failed =
		!x.w || xmlTextWriterSetIndent(x.w, 1) < 0 || xmlTextWriterStartDocument(x.w, "1.0", "UTF-8", NULL) < 0;
	draw(&x);
	if (!x.failed)
		latch(&x, xmlTextWriterEndDocument(x.w));
	xmlFreeTextWriter(x.w);
	if (!x.failed)
		text = strdup((const char *)xmlBufferContent(buffer));
	xmlBufferFree(buffer);
	vbmq_svg_map_done(m);
	free(m);
	if (!text)
		return vbmq_err_oom(err);
	*ret = text;
	return 0;
}
