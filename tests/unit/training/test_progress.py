import time

from regard.training.progress import Progress, Stream


def test_a_stream_begins_at_what_was_trained_on_however_much_was_read_ahead(toy):
    progress = Progress(epoch=3, batch=2)
    stream = Stream(toy.Batches(), progress)
    ahead = iter(stream)
    read = [next(ahead) for _ in range(4)]
    again = list(stream)
    assert len(again) == 5
    assert all(first.x.equal(second.x) for first, second in zip(read, again[:4], strict=True))
    progress.epoch, progress.batch = 4, 0
    assert len(list(stream)) == 7


def test_seconds_go_on_in_another_process_whatever_its_clock_says():
    progress = Progress(step=5, spent=100.0, started=time.monotonic() - 7)
    resumed = Progress.from_state_dict(progress.state_dict())
    assert resumed.step == 5
    assert 107 <= resumed.seconds < 110
    assert 107 <= progress.seconds < 110
