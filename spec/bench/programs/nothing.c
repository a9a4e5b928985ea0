/* nothing - the shortest program there is, to be started many times. */
int main(void)
{
	return 0;
}
