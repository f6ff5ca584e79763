/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bare libvirt event client: what any program that watches domains must at least have. It opens a connection, registers
 * the events that lib/virt/connection.c registers, runs libvirt's event loop, and does nothing with what comes. The
 * measure for vbmqd's memory and wake-ups.
 *
 *	eventclient URI        prints "ready" once it listens; ends on a signal
 */
#include <stdio.h>
#include <string.h>

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *data)
{
	return 0;
}

static void on_plain(virConnectPtr conn, virDomainPtr dom, void *data)
{
}

static void on_device(virConnectPtr conn, virDomainPtr dom, const char *alias, void *data)
{
}

static void on_params(virConnectPtr conn, virDomainPtr dom, virTypedParameterPtr params, int n, void *data)
{
}

static void on_metadata(virConnectPtr conn, virDomainPtr dom, int type, const char *uri, void *data)
{
}

static void on_close(virConnectPtr conn, int reason, void *data)
{
}

static const struct {
	int id;
	virConnectDomainEventGenericCallback cb;
} events[] = {
	{ VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle) },
	{ VIR_DOMAIN_EVENT_ID_REBOOT, VIR_DOMAIN_EVENT_CALLBACK(on_plain) },
	{ VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_device) },
	{ VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_device) },
	{ VIR_DOMAIN_EVENT_ID_TUNABLE, VIR_DOMAIN_EVENT_CALLBACK(on_params) },
	{ VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_metadata) },
	{ VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_params) },
};

static int fail(const char *what)
{
	fprintf(stderr, "eventclient: %s: %s\n", what, virGetLastErrorMessage());
	return 1;
}

int main(int argc, char **argv)
{
	virConnectPtr conn;

	if (argc != 2) {
		fprintf(stderr, "usage: eventclient URI\n");
		return 2;
	}
	if (virEventRegisterDefaultImpl() < 0)
		return fail("no event loop");
	conn = virConnectOpenAuth(argv[1], NULL, 0);
	if (!conn)
		return fail(argv[1]);
	if (virConnectRegisterCloseCallback(conn, on_close, NULL, NULL) < 0)
		return fail("no close callback");
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		if (virConnectDomainEventRegisterAny(conn, NULL, events[i].id, events[i].cb, NULL, NULL) < 0)
			return fail("cannot register for an event");
	}
	puts("ready");
	fflush(stdout);
	while (virEventRunDefaultImpl() == 0)
		;
	return fail("the event loop ended");
}
