# SPDX-License-Identifier: LGPL-2.1-or-later
"""The RELAX NG of the metadata against its examples, and what we write into domain XML against libvirt's own schema."""
import os
import pathlib

import pytest
from lxml import etree

SOURCE = pathlib.Path(os.environ['VBMQ_SOURCE'])
EXAMPLES = SOURCE / 'schemas' / 'examples'
CONFIGURED = SOURCE / 'tests' / 'data' / 'configured'
LIBVIRT = pathlib.Path('/usr/share/libvirt/schemas/domain.rng')
# Refused by us although libvirt's tree builder and the schema cannot say so.
BESIDE = ['disk-twice.xml']
# Domain XML that libvirt's parser takes and its schema does not.
ODD = ['cpu-lists.xml', 'live-no-id.xml', 'queues-zero.xml', 'xinclude.xml']
# Has elements that came between libvirt 9.0 and 10.0 (polling in <iothreadids>, disk sources).
NEWER = {'disk-kinds.xml', 'iothread-ids.xml', 'live-hotplug.xml'}


def names(directory, pattern, least):
    found = sorted(p.name for p in directory.glob(pattern))
    assert len(found) >= least, f'only {len(found)} files {pattern} in {directory}'
    return found


def parse(path):
    return etree.parse(str(path), etree.XMLParser(resolve_entities=False, no_network=True))


@pytest.fixture(scope='session', name='metadata')
def metadata_schema():
    return etree.RelaxNG(parse(SOURCE / 'schemas' / 'domain-metadata.rng'))


@pytest.fixture(scope='session', name='libvirt')
def libvirt_schema():
    if not LIBVIRT.exists():
        pytest.skip(f'{LIBVIRT} is not installed')
    return etree.RelaxNG(parse(LIBVIRT))


@pytest.mark.parametrize('name', names(EXAMPLES, 'metadata-valid-*.xml', 4))
def test_valid_example(metadata, name):
    metadata.assertValid(parse(EXAMPLES / name))


@pytest.mark.parametrize('name', names(EXAMPLES, 'metadata-invalid-*.xml', 30))
def test_invalid_example(metadata, name):
    try:
        document = parse(EXAMPLES / name)
    except etree.XMLSyntaxError:
        assert name == 'metadata-invalid-not-closed.xml'
        return
    assert not metadata.validate(document)


@pytest.mark.parametrize('name', BESIDE)
def test_beside_the_schema(metadata, name):
    """These pass the schema: the C code must look for itself."""
    metadata.assertValid(parse(SOURCE / 'tests' / 'data' / 'metadata' / name))


def need_maps(document):
    """Schemas before libvirt 10.0 know no queue maps; before 11.2 not on controllers."""
    common = LIBVIRT.with_name('domaincommon.rng').read_text(encoding='utf-8')
    needed = 'iothreadMapping' if document.find('.//driver/iothreads') is not None else ''
    if needed and common.count(needed) < (3 if document.find('.//controller/driver/iothreads') is not None else 2):
        pytest.skip('the libvirt here is too old for queue maps')
    if NEWER.intersection(pathlib.Path(document.docinfo.URL or '').parts) and 'iothreadMapping' not in common:
        pytest.skip('the libvirt here is older than 10.0 and does not know all that is in it')


@pytest.mark.parametrize('name', names(CONFIGURED, '*.xml', 10))
def test_configured_is_libvirt_xml(libvirt, name):
    document = parse(CONFIGURED / name)
    need_maps(document)
    libvirt.assertValid(document)


def test_libvirt_schema_can_refuse(libvirt):
    """The check above would notice: a queue without an id is not libvirt's."""
    document = parse(CONFIGURED / 'plain-disk.xml')
    need_maps(document)
    del document.find('.//queue').attrib['id']
    assert not libvirt.validate(document)


@pytest.mark.parametrize('name', names(SOURCE / 'tests' / 'data' / 'domxml', '[!b]*.xml', 25))
def test_fixture_is_libvirt_xml(libvirt, name):
    """Fixtures that we accept are what libvirt writes, but for those made to be odd."""
    document = parse(SOURCE / 'tests' / 'data' / 'domxml' / name)
    need_maps(document)
    assert libvirt.validate(document) == (name not in ODD), libvirt.error_log
