"""The reader of dlib's files: what was written comes back; what was cut off or altered is refused in words."""

import dlib_bytes as write
import numpy as np
import pytest

from mien.models.packaged.dlib_file import DlibFileError, read_network

RANDOM = np.random.default_rng(0)
FILTERS, BIASES = RANDOM.normal(size=(4, 3, 3, 3)).astype(np.float32), RANDOM.normal(size=4).astype(np.float32)
GAMMA, BETA = RANDOM.normal(size=4).astype(np.float32), RANDOM.normal(size=4).astype(np.float32)
HEAD = RANDOM.normal(size=(4, 5)).astype(np.float32)
LAYERS = [
    write.con(FILTERS, BIASES, stride=2),
    write.affine(GAMMA, BETA),
    write.plain("relu_1"),
    write.plain("max_pool_2", 3, 3, 2, 2, 0, 0),
    write.plain("add_prev_1"),
    write.plain("avg_pool_2", 0, 0, 1, 1, 0, 0),
    write.fc(HEAD),
]
FILE = write.network(LAYERS)


def test_what_was_written_comes_back() -> None:
    read = read_network(FILE)
    assert read.means == (122.75, 117.0, 104.25)
    assert [layer.kind for layer in read.layers] == ["con", "affine", "relu", "max_pool", "add_prev", "avg_pool", "fc"]
    convolution, affine, *_, head = read.layers
    assert convolution.settings == (4, 3, 3, 2, 2, 0, 0)
    np.testing.assert_array_equal(convolution.tensors["filters"], FILTERS)
    np.testing.assert_array_equal(convolution.tensors["biases"], BIASES)
    np.testing.assert_array_equal(affine.tensors["gamma"], GAMMA)
    np.testing.assert_array_equal(affine.tensors["beta"], BETA)
    np.testing.assert_array_equal(head.tensors["weights"], HEAD)
    assert read.layers[3].settings == (3, 3, 2, 2, 0, 0)


def test_a_file_that_ends_too_early_is_refused_wherever_it_ends() -> None:
    for end in range(len(FILE)):
        with pytest.raises(DlibFileError, match="expected"):
            read_network(FILE[:end])


def test_an_altered_byte_never_gives_another_kind_of_error() -> None:
    """A weight may change unseen (the file's hash is for that); nothing else happens, and no memory is taken."""
    refused = 0
    for place in range(len(FILE)):
        for value in (0, 1, 0x7F, 0x88, 0xFF):
            altered = FILE[:place] + bytes([value]) + FILE[place + 1 :]
            try:
                read_network(altered)
            except DlibFileError:
                refused += 1
    assert refused > len(FILE)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "1 bytes of an integer at byte 0, got 0"),
        (b"PK\x03\x04" * 20, "expected an integer at byte 0"),
        (FILE + b"\x01\x05", "5 bytes of a name"),
        (write.network([write.plain("relu_1")]).replace(b"loss_metric_2", b"loss_softmx_2"), "'loss_metric'"),
        (write.network([write.plain("prelu_1")]), "a layer of the face network"),
        (write.network([write.con(FILTERS, BIASES[:3])]), "expected 112 weights"),
        (write.network([write.plain("relu_1")[:-30] + write.tensor(GAMMA) * 3]), "in a finished network"),
    ],
)
def test_what_is_wrong_is_named(raw: bytes, expected: str) -> None:
    with pytest.raises(DlibFileError) as error:
        read_network(raw)
    assert expected in str(error.value)
