/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbmqd: command line, signals, event loop. Everything else hangs off the manager. */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "config.h"
#include "daemon/bus.h"
#include "daemon/log.h"
#include "daemon/manager.h"
#include "util/err.h"

#define STOP_GRACE_MS 1500u
#define EXIT_USAGE 2

static const char help[] =
	"Usage: vbmqd [OPTION...]\n"
	"Plans host-wide, non-overlapping core placement of QEMU I/O threads and applies it live.\n"
	"\n"
	"  --config FILE    settings (default " VBMQ_CONF_FILE "), with drop-ins in FILE.d/*.conf\n"
	"  --uri URI        libvirt to connect to, instead of the configured one\n"
	"  --dry-run        plan and report, touch nothing, also when asked to apply\n"
	"  --bus BUS        system (default), session, or the address of a D-Bus\n"
	"  --run-dir DIR    where the undo record lies (default " VBMQ_RUN_DIR ")\n"
	"  --debug          log more\n"
	"  --version        print the version\n"
	"  --help           print this\n"
	"\n"
	"Signals: TERM and INT stop the daemon and leave the guests as they are; HUP reads the settings again.\n"
	"See vbmqd(8), vbmqd.conf(5), org.vbmq1(5).\n";

enum { OPT_CONFIG = 1000, OPT_URI, OPT_DRY_RUN, OPT_BUS, OPT_RUN_DIR, OPT_DEBUG, OPT_VERSION, OPT_HELP };

struct daemon {
	sd_event *event;
	struct vbmqd_manager *manager;
	struct vbmqd_bus *bus;
	bool failed;
};

/* 0: go on; 1: done, exit with success; negative: usage. */
static int parse_arguments(int argc, char **argv, struct vbmqd_options *opt, const char **ret_bus)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, OPT_CONFIG },
		{ "uri", required_argument, NULL, OPT_URI },
		{ "dry-run", no_argument, NULL, OPT_DRY_RUN },
		{ "bus", required_argument, NULL, OPT_BUS },
		{ "run-dir", required_argument, NULL, OPT_RUN_DIR },
		{ "debug", no_argument, NULL, OPT_DEBUG },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ "help", no_argument, NULL, OPT_HELP },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case OPT_CONFIG:
			opt->config = optarg;
			opt->config_required = true;
			break;
		case OPT_URI:
			opt->uri = optarg;
			break;
		case OPT_DRY_RUN:
			opt->dry_run = true;
			break;
		case OPT_BUS:
			*ret_bus = optarg;
			break;
		case OPT_RUN_DIR:
			opt->run_dir = optarg;
			break;
		case OPT_DEBUG:
			opt->debug = true;
			break;
		case OPT_VERSION:
			puts("vbmqd " VBMQ_VERSION);
			return 1;
		case OPT_HELP:
			fputs(help, stdout);
			return 1;
		default:
			return -EINVAL;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "vbmqd: unexpected argument '%s'\n", argv[optind]);
		return -EINVAL;
	}
	return 0;
}

static int on_stop(sd_event_source *s, const struct signalfd_siginfo *si, void *data)
{
	struct daemon *d = data;

	sd_notify(0, "STOPPING=1\nSTATUS=Stopping; guests stay as they are");
	vbmqd_log(LOG_NOTICE, "stopping on signal %s; guests stay as they are", strsignal((int)si->ssi_signo));
	return sd_event_exit(d->event, 0);
}

static int on_reload(sd_event_source *s, const struct signalfd_siginfo *si, void *data)
{
	struct daemon *d = data;
	struct vbmq_err e = VBMQ_ERR_INIT;

	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)vbmqd_now());
	if (vbmqd_manager_reload(d->manager, &e) < 0)
		vbmqd_log_about(LOG_ERR, &(struct vbmqd_about){ .message_id = VBMQD_MSG_BAD_CONFIG },
				"keeping the settings in force: %s", e.text);
	else
		vbmqd_log(LOG_NOTICE, "settings read again");
	sd_notify(0, "READY=1");
	return 0;
}

static void on_ready(void *data)
{
	sd_notify(0, "READY=1");
}

static void on_fatal(void *data, const char *why)
{
	struct daemon *d = data;

	vbmqd_log(LOG_ERR, "%s", why);
	d->failed = true;
	sd_event_exit(d->event, 1);
}

/* Blocked before the first thread is made, so that every thread inherits it and signals come through the event loop only. */
static int set_up_signals(struct daemon *d, struct vbmq_err *err)
{
	sigset_t mask;
	int r;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	sigaddset(&mask, SIGPIPE);
	r = -pthread_sigmask(SIG_BLOCK, &mask, NULL);
	if (r >= 0)
		r = sd_event_default(&d->event);
	if (r >= 0)
		r = sd_event_add_signal(d->event, NULL, SIGTERM, on_stop, d);
	if (r >= 0)
		r = sd_event_add_signal(d->event, NULL, SIGINT, on_stop, d);
	if (r >= 0)
		r = sd_event_add_signal(d->event, NULL, SIGHUP, on_reload, d);
	if (r >= 0)
		r = sd_event_set_watchdog(d->event, 1);
	return r < 0 ? vbmq_err_set(err, r, "cannot set up the event loop: %s", strerror(-r)) : 0;
}

static int make_run_dir(const char *path, struct vbmq_err *err)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return vbmq_err_set(err, -errno, "%s: cannot be made: %s", path, strerror(errno));
	return 0;
}

static int run(struct daemon *d, const struct vbmqd_options *opt, const char *bus, struct vbmq_err *err)
{
	int r;

	r = set_up_signals(d, err);
	if (r == 0)
		r = make_run_dir(opt->run_dir, err);
	if (r == 0)
		r = vbmqd_manager_new(opt, d->event, &d->manager, err);
	if (r == 0)
		r = vbmqd_bus_new(d->manager, d->event, bus, on_ready, on_fatal, d, &d->bus, err);
	if (r == 0)
		r = vbmqd_manager_start(d->manager, err);
	if (r < 0)
		return r;
	vbmqd_log(LOG_NOTICE, "vbmqd " VBMQ_VERSION " (%s)", vbmqd_mode_words[vbmqd_manager_mode(d->manager)]);
	r = sd_event_loop(d->event);
	return r < 0 ? vbmq_err_set(err, r, "the event loop failed: %s", strerror(-r)) : 0;
}

int main(int argc, char **argv)
{
	struct vbmqd_options opt = { .config = VBMQ_CONF_FILE, .run_dir = VBMQ_RUN_DIR };
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct daemon d = { .failed = false };
	const char *bus = "system";
	int r;

	r = parse_arguments(argc, argv, &opt, &bus);
	if (r)
		return r < 0 ? EXIT_USAGE : EXIT_SUCCESS;
	/* Workers block far more than they compute: one arena keeps what they free in one place, where it can be trimmed. */
	mallopt(M_ARENA_MAX, 1);
	vbmqd_log_open();
	if (opt.debug)
		vbmqd_log_set_level(LOG_DEBUG);
	opt.bus = bus;
	r = run(&d, &opt, bus, &err);
	if (r < 0)
		vbmqd_log(LOG_ERR, "%s", err.text);
	if (d.manager && !vbmqd_manager_stop(d.manager, STOP_GRACE_MS)) {
		/* A thread hangs in a call on a guest. What it uses must not be freed, and waiting helps nobody. */
		vbmqd_bus_free(d.bus);
		vbmqd_log(LOG_WARNING, "leaving with a call still hanging");
		_exit(r < 0 || d.failed ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	vbmqd_bus_free(d.bus);
	vbmqd_manager_free(d.manager);
	sd_event_unref(d.event);
	return r < 0 || d.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
