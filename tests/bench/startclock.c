/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The clock of the start benchmark: time zero is when a libvirt client of its own is told that a domain has started.
 *
 *	startclock URI DOMAIN PIDFILE --bus ADDRESS
 *		notes what vbmqd says on its bus until it says Applied, and then reads the affinities from /proc
 *	startclock URI DOMAIN PIDFILE DISK-ALIAS STEP...
 *		makes the libvirt calls which that work needs, one after the other and nothing else: look up, state, XML, the
 *		monitor queries, every STEP, the monitor query again, /proc.
 *	startclock URI DOMAIN PIDFILE --checked DISK-ALIAS STEP...
 *		the same with the checks that vbmqd promises: the domain is looked up for every step, I/O threads are asked for
 *		before an emulator pin and after polling, and in the end the domain is read anew, XML and all
 *		STEP: emulator:MASK, vcpu:ID:MASK, iothread:ID:MASK, add:ID, polling:ID:MAX:GROW:SHRINK (MASK: hexadecimal)
 *
 * Prints "ready" when it listens, and in the end one JSON object: marks in nanoseconds since the event, and the threads
 * with their affinity. Both ways end with the same reading of /proc.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <systemd/sd-bus.h>

#define PATIENCE_MS 60000
#define MARKS_MAX 256

struct clock {
	const char *domain, *pid_file;
	virConnectPtr conn;
	int fd; /* written when the event has come */
	uint64_t zero; /* set before fd is written */
	struct {
		char what[64];
		uint64_t at;
	} marks[MARKS_MAX];
	size_t n_marks;
	bool applied;
	bool checked;
};

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list ap;

	fputs("startclock: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, " (libvirt: %s)\n", virGetLastErrorMessage());
	exit(1);
}

static void mark(struct clock *c, const char *what)
{
	if (c->n_marks == MARKS_MAX)
		die("too many marks");
	snprintf(c->marks[c->n_marks].what, sizeof(c->marks[0].what), "%s", what);
	c->marks[c->n_marks++].at = now();
}

/* --- the event ------------------------------------------------------------------------------------------------------ */

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *data)
{
	struct clock *c = data;
	const uint64_t one = 1;

	if (event == VIR_DOMAIN_EVENT_STARTED && !c->zero && strcmp(virDomainGetName(dom), c->domain) == 0) {
		c->zero = now();
		if (write(c->fd, &one, sizeof(one)) < 0)
			die("eventfd: %s", strerror(errno));
	}
	return 0;
}

static void *loop(void *data)
{
	while (virEventRunDefaultImpl() == 0)
		;
	return NULL;
}

static void listen_to(struct clock *c, const char *uri)
{
	pthread_t thread;

	c->fd = eventfd(0, EFD_CLOEXEC);
	if (c->fd < 0 || virEventRegisterDefaultImpl() < 0 || pthread_create(&thread, NULL, loop, NULL))
		die("no event loop");
	c->conn = virConnectOpenAuth(uri, NULL, 0);
	if (!c->conn || virConnectDomainEventRegisterAny(c->conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
							 VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), c, NULL) < 0)
		die("%s", uri);
}

static void wait_for_start(struct clock *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };

	if (poll(&p, 1, PATIENCE_MS) != 1)
		die("%s did not start", c->domain);
}

/* --- /proc ---------------------------------------------------------------------------------------------------------- */

static int read_pid(const struct clock *c)
{
	FILE *f = fopen(c->pid_file, "re");
	int pid = 0;

	if (!f || fscanf(f, "%d", &pid) != 1)
		die("%s: no process", c->pid_file);
	fclose(f);
	return pid;
}

/* The affinity of every thread as text, into memory of the caller's to free. */
static char *read_affinities(const struct clock *c)
{
	int pid = read_pid(c);
	char path[300], line[1024], *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	struct dirent *entry;
	bool first = true;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir || !out)
		die("%s: %s", path, strerror(errno));
	while ((entry = readdir(dir))) {
		FILE *f;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.32s/status", pid, entry->d_name);
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f)) {
			if (strncmp(line, "Cpus_allowed_list:\t", 19) != 0)
				continue;
			line[strcspn(line, "\n")] = '\0';
			fprintf(out, "%s\"%s\":\"%s\"", first ? "" : ",", entry->d_name, line + 19);
			first = false;
		}
		if (f)
			fclose(f);
	}
	closedir(dir);
	fclose(out);
	return text;
}

static void finish(struct clock *c)
{
	char *threads = read_affinities(c);

	mark(c, "verified");
	printf("{\"marks\":[");
	for (size_t i = 0; i < c->n_marks; i++)
		printf("%s[\"%s\",%" PRId64 "]", i ? "," : "", c->marks[i].what, (int64_t)(c->marks[i].at - c->zero));
	printf("],\"threads\":{%s}}\n", threads);
	free(threads);
}

/* --- what vbmqd says ------------------------------------------------------------------------------------------------ */

static int on_signal(sd_bus_message *m, void *data, sd_bus_error *error)
{
	struct clock *c = data;
	const char *member = sd_bus_message_get_member(m), *interface, *name, *value;
	char text[64];

	if (strcmp(member, "PropertiesChanged") != 0) {
		mark(c, member);
		c->applied = c->applied || strcmp(member, "Applied") == 0;
		return 0;
	}
	if (sd_bus_message_read(m, "s", &interface) < 0 || strcmp(interface, "org.vbmq1.Manager") != 0 ||
	    sd_bus_message_enter_container(m, 'a', "{sv}") < 0)
		return 0;
	while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
		if (sd_bus_message_read(m, "s", &name) < 0)
			return 0;
		if (strcmp(name, "State") != 0) {
			sd_bus_message_skip(m, "v");
		} else if (sd_bus_message_read(m, "v", "s", &value) >= 0) {
			snprintf(text, sizeof(text), "state %s", value);
			mark(c, text);
		}
		sd_bus_message_exit_container(m);
	}
	return 0;
}

static sd_bus *open_bus(struct clock *c, const char *address)
{
	sd_bus *bus = NULL;

	if (sd_bus_new(&bus) < 0 || sd_bus_set_address(bus, address) < 0 || sd_bus_set_bus_client(bus, 1) < 0 ||
	    sd_bus_start(bus) < 0 ||
	    sd_bus_match_signal(bus, NULL, "org.vbmq1", "/org/vbmq1", NULL, NULL, on_signal, c) < 0)
		die("%s: no bus", address);
	return bus;
}

static void listen_for_applied(struct clock *c, sd_bus *bus)
{
	int r = 1;

	for (uint64_t end = now() + PATIENCE_MS * UINT64_C(1000000); !c->applied && r >= 0;) {
		if (now() > end)
			die("vbmqd has not applied anything");
		r = sd_bus_process(bus, NULL);
		if (r == 0)
			r = sd_bus_wait(bus, 1000000);
	}
	if (r < 0)
		die("bus: %s", strerror(-r));
	if (!c->zero)
		die("applied before the start event");
	finish(c);
	sd_bus_flush_close_unref(bus);
}

/* --- the calls alone ------------------------------------------------------------------------------------------------ */

static char *monitor(virDomainPtr dom, const char *command)
{
	char *reply = NULL;

	if (virDomainQemuMonitorCommand(dom, command, &reply, VIR_DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT) < 0 || !reply ||
	    !strstr(reply, "\"return\""))
		die("%s", command);
	return reply;
}

static bool is_other(const char *cpus, const char *iothreads, const char *tid)
{
	char key[64];

	snprintf(key, sizeof(key), "\"thread-id\":%.20s", tid);
	for (const char *text = cpus; text; text = text == cpus ? iothreads : NULL) {
		const char *at = strstr(text, key);

		if (at && (at[strlen(key)] == ',' || at[strlen(key)] == '}'))
			return false;
	}
	return true;
}

/* Without cgroups virDomainPinEmulator moves the main thread only: the others of the process follow. */
static void pin_rest(const struct clock *c, uint64_t mask, const char *cpus, const char *iothreads)
{
	int pid = read_pid(c);
	struct dirent *entry;
	cpu_set_t set;
	char path[64];
	DIR *dir;

	CPU_ZERO(&set);
	for (size_t i = 0; i < 64; i++) {
		if (mask >> i & 1)
			CPU_SET(i, &set);
	}
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.' && is_other(cpus, iothreads, entry->d_name) &&
		    sched_setaffinity(atoi(entry->d_name), sizeof(set), &set) < 0 && errno != ESRCH)
			die("thread %s: %s", entry->d_name, strerror(errno));
	}
	if (dir)
		closedir(dir);
}

static void set_polling(virDomainPtr dom, unsigned id, uint64_t max, unsigned grow, unsigned shrink)
{
	virTypedParameterPtr params = NULL;
	int n = 0, size = 0;

	if (virTypedParamsAddULLong(&params, &n, &size, VIR_DOMAIN_IOTHREAD_POLL_MAX_NS, max) < 0 ||
	    virTypedParamsAddUInt(&params, &n, &size, VIR_DOMAIN_IOTHREAD_POLL_GROW, grow) < 0 ||
	    virTypedParamsAddUInt(&params, &n, &size, VIR_DOMAIN_IOTHREAD_POLL_SHRINK, shrink) < 0 ||
	    virDomainSetIOThreadParams(dom, id, params, n, VIR_DOMAIN_AFFECT_LIVE) < 0)
		die("polling of I/O thread %u", id);
	virTypedParamsFree(params, n);
}

static void step(const struct clock *c, virDomainPtr dom, const char *text, const char *cpus, const char *iothreads)
{
	unsigned char map[sizeof(uint64_t)];
	uint64_t mask, max;
	unsigned id, grow, shrink;
	int r = 0;

	if (sscanf(text, "emulator:%" SCNx64, &mask) == 1) {
		memcpy(map, &mask, sizeof(map)); /* little endian, as libvirt's map is */
		r = virDomainPinEmulator(dom, map, sizeof(map), VIR_DOMAIN_AFFECT_LIVE);
		pin_rest(c, mask, cpus, iothreads);
	} else if (sscanf(text, "vcpu:%u:%" SCNx64, &id, &mask) == 2) {
		memcpy(map, &mask, sizeof(map));
		r = virDomainPinVcpuFlags(dom, id, map, sizeof(map), VIR_DOMAIN_AFFECT_LIVE);
	} else if (sscanf(text, "iothread:%u:%" SCNx64, &id, &mask) == 2) {
		memcpy(map, &mask, sizeof(map));
		r = virDomainPinIOThread(dom, id, map, sizeof(map), VIR_DOMAIN_AFFECT_LIVE);
	} else if (sscanf(text, "add:%u", &id) == 1) {
		r = virDomainAddIOThread(dom, id, VIR_DOMAIN_AFFECT_LIVE);
	} else if (sscanf(text, "polling:%u:%" SCNu64 ":%u:%u", &id, &max, &grow, &shrink) == 4) {
		set_polling(dom, id, max, grow, shrink);
	} else {
		die("unknown step '%s'", text);
	}
	if (r < 0)
		die("%s", text);
}

/* What else it takes to trust a step: is it the same instance, who are its I/O threads now. */
static void check_step(const struct clock *c, virDomainPtr dom, const char *text)
{
	virDomainPtr same = virDomainLookupByName(c->conn, c->domain);

	if (!same || virDomainGetID(same) != virDomainGetID(dom))
		die("%s is another one", c->domain);
	virDomainFree(same);
	if (strncmp(text, "emulator", 8) == 0 || strncmp(text, "polling", 7) == 0)
		free(monitor(dom, "{\"execute\":\"query-iothreads\"}"));
}

static void read_again(virDomainPtr dom, const char *query)
{
	char *xml = virDomainGetXMLDesc(dom, 0);

	if (!xml)
		die("no XML");
	free(xml);
	free(monitor(dom, "{\"execute\":\"query-cpus-fast\"}"));
	free(monitor(dom, query));
}

static void make_calls(struct clock *c, const char *alias, char **steps, int n_steps)
{
	char query[256], *xml, *cpus, *iothreads, *status, *again;
	virDomainPtr dom;
	int state;

	wait_for_start(c);
	mark(c, "woken");
	dom = virDomainLookupByName(c->conn, c->domain);
	if (!dom || virDomainGetState(dom, &state, NULL, 0) < 0)
		die("%s", c->domain);
	xml = virDomainGetXMLDesc(dom, 0);
	if (!xml)
		die("no XML");
	mark(c, "xml");
	cpus = monitor(dom, "{\"execute\":\"query-cpus-fast\"}");
	iothreads = monitor(dom, "{\"execute\":\"query-iothreads\"}");
	snprintf(query, sizeof(query),
		 "{\"execute\":\"x-query-virtio-status\",\"arguments\":{\"path\":\"/machine/peripheral/%s/"
		 "virtio-backend\"}}",
		 alias);
	status = monitor(dom, query);
	mark(c, "read");
	for (int i = 0; i < n_steps; i++) {
		if (c->checked)
			check_step(c, dom, steps[i]);
		step(c, dom, steps[i], cpus, iothreads);
	}
	mark(c, "stepped");
	if (c->checked)
		read_again(dom, query);
	again = monitor(dom, "{\"execute\":\"query-iothreads\"}");
	finish(c);
	free(xml);
	free(cpus);
	free(iothreads);
	free(status);
	free(again);
	virDomainFree(dom);
}

int main(int argc, char **argv)
{
	static struct clock c;
	sd_bus *bus = NULL;

	if (argc < 5 || (strcmp(argv[4], "--bus") == 0 && argc != 6)) {
		fputs("usage: startclock URI DOMAIN PIDFILE --bus ADDRESS | [--checked] DISK-ALIAS STEP...\n", stderr);
		return 2;
	}
	c.domain = argv[2];
	c.pid_file = argv[3];
	listen_to(&c, argv[1]);
	c.checked = argc > 5 && strcmp(argv[4], "--checked") == 0;
	if (strcmp(argv[4], "--bus") == 0)
		bus = open_bus(&c, argv[5]);
	puts("ready");
	fflush(stdout);
	if (bus)
		listen_for_applied(&c, bus);
	else
		make_calls(&c, argv[4 + c.checked], argv + 5 + c.checked, argc - 5 - c.checked);
	return 0;
}
